"""From a cohort's labels to what its models learn."""

import numpy as np
import torch

from cropkt.data.bags import Bags
from cropkt.data.study import Cohort
from cropkt.survival.discrete.intervals import interval_of, uniform_edges
from cropkt.survival.losses import SurvivalTargets


def survival_targets(cohort: Cohort, bags: Bags, *, device: str | None = None) -> SurvivalTargets:
    """Labels of `bags` in bag order, on `device` (default: theirs).

    Intervals are those of the whole label table, as published.
    """
    edges = uniform_edges(cohort.labels["time"].to_numpy(), cohort.labels["event"].to_numpy())
    rows = cohort.labels.loc[list(bags.patients)]
    there = device or bags.features.device
    time = rows["time"].to_numpy(dtype=np.float64)
    return SurvivalTargets(
        torch.tensor(time, dtype=torch.float64, device=there),
        torch.tensor(rows["event"].to_numpy(dtype=np.int64), device=there),
        torch.as_tensor(interval_of(time, edges)).to(there),
    )
