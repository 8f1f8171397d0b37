"""One Cox model of all other cohorts, patients compared within cohorts; no outcome of the target is used."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray:
    return case.tested @ case.others.pan_cancer


RIVAL = Rival("pan_cox", label="pan-cancer Cox model, zero-shot", fit=_fit)
