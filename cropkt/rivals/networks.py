"""Networks that rivals train on a draw of the target: from the common start, all parts in step over the same bags."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import MILModel
from cropkt.models.predict import predict
from cropkt.rivals.case import Case
from cropkt.seeds import generator
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.targets import survival_targets

INNER_PARTS = 3


def train_from_null(case: Case, learning: Sequence[np.ndarray], settings: TrainingConfig) -> list[MILModel]:
    """One network for each of `learning` (indices of patients that may train it), from the common start."""
    assert case.plan is not None
    start = build_null_model(case.plan.architecture, case.plan.seed)
    return train_from(case, [start] * len(learning), learning, settings)


def train_from(
    case: Case, starts: Sequence[MILModel], learning: Sequence[np.ndarray], settings: TrainingConfig
) -> list[MILModel]:
    """One network for each of `learning`, from a copy of its start."""
    held, plan = case.held, case.plan
    assert held is not None
    assert plan is not None
    bags = held.bags
    folds = [
        FoldTraining(number, deepcopy(start).to(bags.features.device), train)
        for number, (start, train) in enumerate(zip(starts, learning, strict=True))
    ]
    targets = survival_targets(held.cohort, bags)
    stream = f"{case.target.cohort}, a draw"
    train_folds(folds, bags, targets, settings, seed=case.seed, stream=stream, precision=plan.precision)
    return [fold.model for fold in folds]


def risks_after(case: Case, network: MILModel, patients: np.ndarray) -> np.ndarray:
    """(n,) float64 risks of `patients` (indices) by a trained network."""
    assert case.held is not None
    return predict([network], case.held.bags.take(patients)).risk[0].astype(np.float64)


def inner_parts(case: Case) -> list[np.ndarray]:
    """The training patients in INNER_PARTS parts with events spread over them; none where two events are not there."""
    event = case.training.event
    if event.sum() < 2:
        return []
    random = generator(case.seed, "inner parts", case.target.cohort)
    deck = np.concatenate([random.permutation(np.flatnonzero(event)), random.permutation(np.flatnonzero(1 - event))])
    return [np.sort(case.train[deck[part::INNER_PARTS]]) for part in range(INNER_PARTS)]
