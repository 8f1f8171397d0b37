"""The hospital a slide came from and nothing else."""

import pandas as pd

from cropkt.data.study import Cohort
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_group
from cropkt.transfer.pair import PairResult, TargetCohort


def _sites(cohort: Cohort) -> pd.DataFrame | None:
    """One column, by patient; None where there are not at least two sites to tell apart."""
    known = "site" in cohort.clinical and cohort.clinical["site"].replace("", pd.NA).nunique() > 1
    return cohort.clinical[["site"]] if known else None


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    return measure_by_group("site", held, plan, _sites(held.cohort))


BASELINE = Baseline(
    "site",
    label="tissue source site alone",
    trained_on="the target's own training folds",
    meaning="the share of events among each hospital's training patients: what can be known by telling hospitals apart",
    measure=_measure,
    role=Role.CONFOUNDER,
    reads=_sites,
)
