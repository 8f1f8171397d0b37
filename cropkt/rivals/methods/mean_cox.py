"""The baseline mean_cox: an elastic-net Cox model of the target's own mean features."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case
from cropkt.seeds import named_seed
from cropkt.transfer.baselines.mean_cox import cox_risk


def _fit(case: Case) -> np.ndarray | None:
    target = case.target
    seed = named_seed(case.seed, "mean_cox", target.cohort) % 2**32
    risk = cox_risk(target.features, target.time, target.event, case.train, seed=seed)[case.test]
    return risk if np.isfinite(risk).all() else None


RIVAL = Rival("mean_cox", label="own elastic-net Cox model (mean_cox)", fit=_fit, own=True)
