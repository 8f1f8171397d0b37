"""Measure a baseline by its name, or one that learns from a target's own training folds."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from cropkt.data.study import Cohort
from cropkt.files import digest
from cropkt.survival.confounders import group_risk
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.pair import PairResult, Scored, TargetCohort, pair_result

BASELINE_VERSION = 2
"""Raised when the code changes what a baseline of the same patients measures."""
LearnFold = Callable[[int, np.ndarray], np.ndarray]
"""From a fold's number and its training patients (indices) to a risk for all patients (B,), NaN where there is none."""


def measure_baseline(name: str, held: TargetCohort, plan: SourcePlan) -> PairResult:
    """Measure the baseline `name` on `held`; `plan` says how the sources it is compared with are made.

    Raises ConfigError for a name that is not in BASELINES.
    """
    result: PairResult = BASELINES[name].measure(held, plan)
    return result


def baseline_fingerprint(name: str, cohort: Cohort, plan: SourcePlan) -> str:
    """Changes whenever the target's data, the columns it reads, the plan's models or the way of measuring change."""
    read = BASELINES[name].reads(cohort)
    return digest(
        BASELINE_VERSION,
        name,
        cohort.fingerprint,
        None if read is None else read.to_csv(),
        repr(plan.architecture),
        plan.seed,
        plan.training.loss,
        plan.precision,
    )


def measure_by_fold(name: str, held: TargetCohort, plan: SourcePlan, learn: LearnFold) -> PairResult:
    """The result of a baseline that `learn`s one model per fold of `held`, each scored on its fold's test patients.

    Patients that a fold tests are never among those it learns from, whatever the split files say.
    """
    risk = np.full((len(held.cohort.folds), len(held.bags)), np.nan)
    for fold, split in enumerate(held.cohort.folds):
        train = held.bags.indices_of(split.train)
        train = train[~np.isin(train, np.flatnonzero(held.tested_in == fold))]
        risk[fold] = learn(fold, train)
    tested = held.tested_in[None, :] == np.arange(len(risk))[:, None]
    scored = Scored(name, plan.architecture.name, tuple(range(len(risk))), risk, tested & np.isfinite(risk))
    return pair_result(scored, held)


def measure_by_group(name: str, held: TargetCohort, plan: SourcePlan, groups: pd.DataFrame | None) -> PairResult:
    """The result of knowing a patient's group and nothing else: the share of events among its training patients.

    groups: one column, by patient id; None where there is nothing to tell apart, and no risk.
    """

    def learn(fold: int, train: np.ndarray) -> np.ndarray:  # noqa: ARG001
        if groups is None or not len(train):
            return np.full(len(held.bags), np.nan)
        return group_risk(groups.iloc[:, 0].loc[list(held.bags.patients)], held.event, train)

    return measure_by_fold(name, held, plan, learn)
