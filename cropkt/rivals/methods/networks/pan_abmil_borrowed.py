"""Borrowed coefficients on the vectors of pan-cancer networks, averaged with the own ones: where few patches decide."""

import numpy as np

from cropkt.rivals import POOLED, Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray:
    assert case.pan_cancer is not None
    own = case.training
    fits = case.pan_cancer.fits(case.train, own.time, own.event)
    parts = zip(case.pan_cancer.vectors, fits, strict=True)
    return np.asarray(np.mean([vectors[case.test] @ fit.averaged for vectors, fit in parts], axis=0))


RIVAL = Rival("pan_abmil_borrowed", label="borrowed coefficients on pan-cancer vectors", fit=_fit, needs=POOLED)
