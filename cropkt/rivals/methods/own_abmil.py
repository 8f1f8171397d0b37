"""The target's own ABMIL (or the study's architecture) with the published settings."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case
from cropkt.rivals.networks import risks_after, train_from_null


def _fit(case: Case) -> np.ndarray:
    assert case.plan is not None
    (network,) = train_from_null(case, [case.train], case.plan.training)
    return risks_after(case, network, case.test)


RIVAL = Rival("own_abmil", label="own model, published settings", fit=_fit, own=True, needs="bags")
