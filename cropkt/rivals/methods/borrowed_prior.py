"""The other cohorts' word alone: no outcome of the target is used."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray:
    return case.tested @ case.fit.prior


RIVAL = Rival("borrowed_prior", label="borrowed coefficients alone, no outcome of the target", fit=_fit)
