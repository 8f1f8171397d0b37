"""Borrowed coefficients on mean features and on the vectors of pan-cancer networks: the two log-risks, added.

Where fractions of tissue decide, mean features are best; where few patches do, they say nothing and the vectors all.
"""

import numpy as np

from cropkt.rivals import POOLED, RIVALS, Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray | None:
    parts = [RIVALS[name].fit(case) for name in ("borrowed", "pan_abmil_borrowed")]
    return np.asarray(sum(part for part in parts if part is not None))


RIVAL = Rival("borrowed_both", label="borrowed on mean features and on vectors, added", fit=_fit, needs=POOLED)
