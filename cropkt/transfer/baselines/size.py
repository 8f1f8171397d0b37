"""The number of patches, its direction learnt on the target's own training folds."""

import numpy as np

from cropkt.survival.concordance import concordance
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_fold
from cropkt.transfer.pair import PairResult, TargetCohort


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    patches = np.log(held.bags.lengths.cpu().numpy())

    def learn(fold: int, train: np.ndarray) -> np.ndarray:  # noqa: ARG001
        return _directed(patches, held.time[train], held.event[train], train)

    return measure_by_fold("size", held, plan, learn)


def _directed(value: np.ndarray, time: np.ndarray, event: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`value` (B,) with the sign that ranks the training patients better; as it is where they tell nothing."""
    c_index = concordance(time, event, value[train]).c_index
    return -value if c_index < 0.5 else value


BASELINE = Baseline(
    "size",
    label="patch count",
    trained_on="the target's own training folds",
    meaning="the amount of tissue alone; whether more is worse is learnt",
    measure=_measure,
    role=Role.COMPARED,
)
