"""Networks trained on all cohorts but the target, trained further on the target's training patients."""

from dataclasses import replace

import numpy as np

from cropkt.rivals import POOLED, Rival
from cropkt.rivals.case import Case
from cropkt.rivals.networks import risks_after, train_from
from cropkt.training.pan_cancer import LOSS

RATE, EPOCHS = 1e-4, 10


def _fit(case: Case) -> np.ndarray | None:
    assert case.pan_cancer is not None
    assert case.plan is not None
    if not case.training.event.any():
        return None
    starts = case.pan_cancer.networks
    settings = replace(case.plan.training, loss=LOSS, learning_rate=RATE, epochs=EPOCHS)
    tuned = train_from(case, starts, [case.train] * len(starts), settings)
    return np.asarray(np.mean([risks_after(case, network, case.test) for network in tuned], axis=0))


RIVAL = Rival("pan_abmil_tuned", label="pan-cancer networks, fine-tuned", fit=_fit, needs=POOLED)
