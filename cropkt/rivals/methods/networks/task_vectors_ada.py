"""Task vectors of the five best sources, weighted so that predictions for the training patients have the least entropy.

AdaMerging. No outcome of the target weighs the sources; it only chooses the five.
"""

import numpy as np
from torch import Tensor

from cropkt.models.mil import MILModel
from cropkt.rivals import SOURCES, Rival
from cropkt.rivals.case import Case
from cropkt.rivals.task_vectors import adaptive_of, merged_risk, slope_of_entropy
from cropkt.survival.losses import LOSSES


def _fit(case: Case) -> np.ndarray | None:
    assert case.plan is not None
    if LOSSES[case.plan.training.loss].intervals == 1:
        return None  # without hazards there is no distribution that could have an entropy

    def merge(added: Tensor, model: MILModel, start: Tensor) -> Tensor:
        return adaptive_of(added, slope_of_entropy(case, model, start))

    return merged_risk(case, merge)


RIVAL = Rival("task_vectors_ada", label="five best sources merged by AdaMerging", fit=_fit, needs=SOURCES)
