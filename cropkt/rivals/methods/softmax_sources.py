"""All other cohorts' ridge Cox models, weighted by softmax(SHARPNESS x shrunken C-index on the training patients).

A C-index on few patients is mostly noise: it is shrunk to 0.5 as a measurement with its standard error, where true ones
scatter by SCATTER. Risks are in units of their deviation among the training patients.
"""

import numpy as np
from scipy.special import softmax

from cropkt.rivals import Rival
from cropkt.rivals.case import Case

SHARPNESS = 30.0
SCATTER = 0.1


def _fit(case: Case) -> np.ndarray | None:
    risks = case.source_risks
    if not risks:
        return None
    score = [_shrunk(case, training) for training, _ in risks.values()]
    scaled = [tested / max(float(training.std()), 1e-12) for training, tested in risks.values()]
    return np.asarray(softmax(SHARPNESS * np.array(score)) @ np.stack(scaled))


def _shrunk(case: Case, risk: np.ndarray) -> float:
    found = case.on_training(risk)
    error = found.standard_error
    if not np.isfinite(found.c_index) or not np.isfinite(error):
        return 0.5
    return 0.5 + (found.c_index - 0.5) * SCATTER**2 / (SCATTER**2 + error**2)


RIVAL = Rival("softmax_sources", label="all sources, softmax of shrunken C-indices (linear)", fit=_fit)
