"""A ridge Cox model of the target's own mean features, its penalty chosen by inner cross-validation."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case
from cropkt.seeds import named_seed
from cropkt.survival.cox import ridge_cox


def _fit(case: Case) -> np.ndarray | None:
    own = case.training
    if not own.event.any():
        return None
    seed = named_seed(case.seed, "own ridge cox", own.cohort)
    return ridge_cox(own.features, own.time, own.event, seed=seed).risk(case.tested)


RIVAL = Rival("own_ridge", label="own ridge Cox model", fit=_fit, own=True)
