"""One other cohort's ridge Cox model: the one that ranks the target's training patients best."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case


def _fit(case: Case) -> np.ndarray | None:
    risks = case.source_risks
    if not risks:
        return None
    score = {name: case.on_training(training).c_index for name, (training, _) in risks.items()}
    best = max(risks, key=lambda name: np.nan_to_num(score[name], nan=0.5))
    return risks[best][1]


RIVAL = Rival("single_source", label="best single source, chosen on training patients (linear)", fit=_fit)
