"""All other cohorts' ridge Cox models, weighted by softmax(SHARPNESS x shrunken C-index on the training patients).

Risks are in units of their deviation among the training patients.
"""

import numpy as np
from scipy.special import softmax

from cropkt.rivals import Rival
from cropkt.rivals.case import Case

SHARPNESS = 30.0


def _fit(case: Case) -> np.ndarray | None:
    risks = case.source_risks
    if not risks:
        return None
    score = [case.shrunken_c_index(training) for training, _ in risks.values()]
    scaled = [tested / max(float(training.std()), 1e-12) for training, tested in risks.values()]
    return np.asarray(softmax(SHARPNESS * np.array(score)) @ np.stack(scaled))


RIVAL = Rival("softmax_sources", label="all sources, softmax of shrunken C-indices (linear)", fit=_fit)
