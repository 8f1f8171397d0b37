"""The TCGA project of a patient and nothing else."""

import pandas as pd

from cropkt.data.study import Cohort
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_group
from cropkt.transfer.pair import PairResult, TargetCohort


def _projects(cohort: Cohort) -> pd.DataFrame | None:
    """One column, by patient; None where there are not at least two projects to tell apart."""
    return cohort.labels[["project"]] if cohort.labels["project"].nunique() > 1 else None


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    return measure_by_group("project", held, plan, _projects(held.cohort))


BASELINE = Baseline(
    "project",
    label="TCGA project alone",
    trained_on="the target's own training folds",
    meaning="the share of events among each project's training patients: what can be known by telling projects apart",
    measure=_measure,
    role=Role.CONFOUNDER,
    reads=_projects,
)
