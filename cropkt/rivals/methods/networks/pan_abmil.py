"""Networks trained on all cohorts but the target, as they are: no outcome of the target is used."""

import numpy as np

from cropkt.rivals import POOLED, Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray:
    assert case.pan_cancer is not None
    return np.asarray(case.pan_cancer.risk[:, case.test].mean(axis=0))


RIVAL = Rival("pan_abmil", label="pan-cancer networks, zero-shot", fit=_fit, needs=POOLED)
