"""A Cox model of the target's own patients on the common axes; how strongly it shrinks was learnt on other cohorts."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray:
    return case.tested @ case.fit.alone


RIVAL = Rival("own_alone", label="own Cox model, shrinkage learnt on other cohorts", fit=_fit, own=True)
