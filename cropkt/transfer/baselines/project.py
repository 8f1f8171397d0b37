"""The TCGA project of a patient and nothing else."""

import numpy as np
import pandas as pd

from cropkt.data.study import Cohort
from cropkt.survival.confounders import group_risk
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_fold
from cropkt.transfer.pair import PairResult, TargetCohort


def _projects(cohort: Cohort) -> pd.DataFrame | None:
    """One column, by patient; None where there are not at least two projects to tell apart."""
    return cohort.labels[["project"]] if cohort.labels["project"].nunique() > 1 else None


def _measure(target: TargetCohort, plan: SourcePlan) -> PairResult:
    found = _projects(target.cohort)

    def learn(fold: int, train: np.ndarray) -> np.ndarray:  # noqa: ARG001
        if found is None or not len(train):
            return np.full(len(target.bags), np.nan)
        return group_risk(found.loc[list(target.bags.patients), "project"], target.event, train)

    return measure_by_fold("project", target, plan, learn)


BASELINE = Baseline(
    "project",
    label="TCGA project alone",
    trained_on="the target's own training folds",
    meaning="the share of events among each project's training patients: what can be known by telling projects apart",
    measure=_measure,
    role=Role.CONFOUNDER,
    reads=_projects,
)
