"""Task vectors of the five best sources, merged by TIES: one merged network."""

import numpy as np

from cropkt.rivals import SOURCES, Rival
from cropkt.rivals.case import Case
from cropkt.rivals.task_vectors import merged_risk, ties_of


def _fit(case: Case) -> np.ndarray | None:
    return merged_risk(case, lambda added, *_: ties_of(added))


RIVAL = Rival("task_vectors_ties", label="five best sources merged by TIES", fit=_fit, needs=SOURCES)
