"""The target's own ABMIL, its rate and epochs chosen on inner parts of the training patients."""

from dataclasses import replace

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case
from cropkt.rivals.networks import inner_parts, risks_after, train_from_null
from cropkt.survival.concordance import score_folds
from cropkt.training.config import TrainingConfig

CHOICES = ((1e-4, 20), (3e-4, 20), (1e-3, 10), (1e-3, 30))
"""Peak rate and epochs. The first, the published ones, if equal."""


def _fit(case: Case) -> np.ndarray:
    assert case.plan is not None
    settings = [replace(case.plan.training, learning_rate=rate, epochs=epochs) for rate, epochs in CHOICES]
    parts = inner_parts(case)
    scores = [_score(case, parts, chosen) for chosen in settings] if parts else [0.0]
    (network,) = train_from_null(case, [case.train], settings[int(np.argmax(scores))])
    return risks_after(case, network, case.test)


def _score(case: Case, parts: list[np.ndarray], settings: TrainingConfig) -> float:
    """C-index pooled over inner parts, each scored by a network that did not see it."""
    learning = [np.setdiff1d(case.train, part) for part in parts]
    risk = np.full((1, len(case.target.time)), np.nan)
    tested_in = np.full(len(case.target.time), -1)
    for number, (part, network) in enumerate(zip(parts, train_from_null(case, learning, settings), strict=True)):
        risk[0, part] = risks_after(case, network, part)
        tested_in[part] = number
    scores = score_folds(case.target.time, case.target.event, risk, tested_in, np.isfinite(risk))
    return float(np.nan_to_num(scores.pooled.c_index, nan=0.0))


RIVAL = Rival("own_abmil_tuned", label="own model, rate and epochs chosen inside", fit=_fit, own=True, needs="bags")
