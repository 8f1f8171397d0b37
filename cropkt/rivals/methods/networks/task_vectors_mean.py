"""Task vectors of the five best sources, averaged: one merged network."""

import numpy as np

from cropkt.rivals import SOURCES, Rival
from cropkt.rivals.case import Case
from cropkt.rivals.task_vectors import mean_of, merged_risk


def _fit(case: Case) -> np.ndarray | None:
    return merged_risk(case, lambda added, *_: mean_of(added))


RIVAL = Rival("task_vectors_mean", label="five best sources merged, mean of task vectors", fit=_fit, needs=SOURCES)
