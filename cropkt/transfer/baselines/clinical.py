"""Age, sex and stage, as far as study.yaml names them: a ridge Cox model without a slide."""

import numpy as np
import pandas as pd

from cropkt.data.study import Cohort
from cropkt.survival.confounders import clinical_columns, ridge_cox_risk
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.measure_baseline import measure_by_fold
from cropkt.transfer.pair import PairResult, TargetCohort

NAMES = {
    "age": ("age", "age_at_diagnosis", "age_at_initial_pathologic_diagnosis"),
    "sex": ("sex", "gender"),
    "stage": ("stage", "tumor_stage", "ajcc_pathologic_tumor_stage", "pathologic_stage", "clinical_stage"),
}
"""What the columns may be called, in any case; the first that is there counts."""


def clinical_table(cohort: Cohort) -> pd.DataFrame | None:
    """Columns age, sex and stage by patient, as written, empty where study.yaml names none; None without any."""
    there = {str(name).lower(): name for name in cohort.clinical.columns}
    found = {part: next((there[name] for name in names if name in there), None) for part, names in NAMES.items()}
    if not any(found.values()):
        return None
    columns = {part: cohort.clinical[name] if name else np.nan for part, name in found.items()}
    return pd.DataFrame(columns, index=cohort.clinical.index)


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    table = clinical_table(held.cohort)
    columns = None if table is None else _columns(table.loc[list(held.bags.patients)])

    def learn(fold: int, train: np.ndarray) -> np.ndarray:  # noqa: ARG001
        if columns is None:
            return np.full(len(held.bags), np.nan)
        return ridge_cox_risk(columns, held.time, held.event, train)

    return measure_by_fold("clinical", held, plan, learn)


def _columns(table: pd.DataFrame) -> np.ndarray:
    return clinical_columns(table["age"], table["sex"], table["stage"])


BASELINE = Baseline(
    "clinical",
    label="age, sex and stage",
    trained_on="the target's own training folds",
    meaning="a ridge Cox model of age, sex and stage, as far as study.yaml names these columns, without a slide",
    measure=_measure,
    role=Role.COMPARED,
    reads=clinical_table,
)
