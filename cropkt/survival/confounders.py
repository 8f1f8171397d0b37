"""What could pass for a prognosis read from slides: TCGA project, tissue source site, age, sex and stage.

Each becomes a risk, learnt in each fold from its training patients alone, that is scored as any model is. Concordance
within strata, and the gain beyond such a risk, ask what a model adds to it.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from statsmodels.duration.hazard_regression import PHReg, PHRegResults
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from cropkt.survival.concordance import CombinedConcordance, score_folds

SHRINKAGE = 5.0
"""Patients of the average event rate that every group is given beside its own."""
FEWEST_EVENTS = 3
RIDGE = 1.0
STAGES = {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0}


def group_risk(group: ArrayLike, event: ArrayLike, train: np.ndarray) -> np.ndarray:
    """(N,): the event rate of each patient's group (project, site) among the training patients (indices), shrunk to
    that of all training patients, which groups that no training patient belongs to have."""
    names, place = np.unique(np.asarray(group, dtype=str), return_inverse=True)
    event = np.asarray(event, dtype=np.float64)
    patients = np.bincount(place[train], minlength=len(names))
    events = np.bincount(place[train], event[train], minlength=len(names))
    return ((events + SHRINKAGE * event[train].mean()) / (patients + SHRINKAGE))[place]


def clinical_columns(age: ArrayLike, sex: ArrayLike, stage: ArrayLike) -> np.ndarray:
    """(N, 3) age in years, 1 for male and 0 for female, and stage 1 to 4; NaN where unknown or another word."""
    sexes = {"male": 1.0, "m": 1.0, "female": 0.0, "f": 0.0}
    of_sex = [sexes.get(str(value).strip().lower(), np.nan) for value in np.asarray(sex, dtype=object)]
    of_stage = [stage_number(value) for value in np.asarray(stage, dtype=object)]
    return np.column_stack([pd.to_numeric(pd.Series(age), errors="coerce"), of_sex, of_stage]).astype(np.float64)


def stage_number(stage: object) -> float:
    """1 to 4 for `Stage IIA`, `III`, `iv` and the like; NaN for anything else."""
    found = re.fullmatch(r"(?:STAGE\s*)?(IV|I{1,3})[ABCS]?\d?", str(stage).strip().upper())
    return STAGES[found.group(1)] if found else float("nan")


def ridge_cox_risk(columns: np.ndarray, time: ArrayLike, event: ArrayLike, train: np.ndarray) -> np.ndarray:
    """(N,) log-risk of a ridge Cox model of `columns` (N, D), fitted to the training patients (indices) alone.

    Unknown values become the training patients' median, with a column that says so. NaN throughout where fewer than
    FEWEST_EVENTS training patients have an event, or no column varies among them.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    known = np.isfinite(columns)
    usable = known[train].any(axis=0)
    values = np.where(known, columns, 0.0)[:, usable]
    middle = np.nanmedian(columns[train][:, usable], axis=0) if usable.any() else np.empty(0)
    design = np.column_stack([np.where(known[:, usable], values, middle), ~known[:, usable]]).astype(np.float64)
    spread = design[train].std(axis=0)
    design = (design - design[train].mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if event[train].sum() < FEWEST_EVENTS or not design.shape[1]:
        return np.full(len(columns), np.nan)
    model = CoxPHSurvivalAnalysis(alpha=RIDGE).fit(design[train], Surv.from_arrays(event[train], time[train]))
    return np.asarray(model.predict(design), dtype=np.float64)


def score_within(
    time: ArrayLike, event: ArrayLike, risk: np.ndarray, tested_in: np.ndarray, valid: np.ndarray, stratum: ArrayLike
) -> CombinedConcordance:
    """C-index from pairs of patients of one fold and one stratum (project) only; arguments as for `score_folds`."""
    tested_in = np.asarray(tested_in)
    strata = np.unique(np.asarray(stratum, dtype=str), return_inverse=True)[1]
    cells = np.where(tested_in >= 0, tested_in * (strata.max(initial=0) + 1) + strata, -1)
    return score_folds(time, event, risk, cells, valid).pooled


@dataclass(frozen=True)
class GainBeyond:
    """What a risk adds to another in one Cox model. hazard_ratio: for one standard deviation, with its 95 % interval.
    p_value: likelihood ratio, two-sided; all NaN, with a reason, where it cannot be fitted."""

    hazard_ratio: float
    lower: float
    upper: float
    p_value: float
    reason: str = ""


def gain_beyond(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, others: np.ndarray, strata: Sequence[ArrayLike] = ()
) -> GainBeyond:
    """Does `risk` (N,) tell more than `others` (N, D) do, in a Cox model stratified by `strata` (each (N,))?

    All risks must be out of sample. Risks of different folds' models are on different scales: standardise them within
    folds and give the folds as a stratum. Patients with an unknown value are left out.
    """
    columns = np.column_stack([np.asarray(risk, dtype=np.float64), others])
    known = np.isfinite(columns).all(axis=1)
    columns, times = columns[known], np.asarray(time, dtype=np.float64)[known]
    events = np.asarray(event)[known].astype(bool)
    if events.sum() < FEWEST_EVENTS * columns.shape[1]:
        return _not_fitted(f"{events.sum()} events for {columns.shape[1]} risks")
    spread = columns.std(axis=0)
    if spread[0] == 0:
        return _not_fitted("the risk is the same for everybody")
    columns = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    columns = columns[:, spread > 0]
    groups = pd.DataFrame([np.asarray(of, dtype=str)[known] for of in strata]).T
    stratum = groups.agg("/".join, axis=1).to_numpy() if len(strata) else np.full(len(times), "")
    without = _log_likelihood(times, events, columns[:, 1:], stratum)
    fit = _fit(times, events, columns, stratum)
    coefficient, error = float(fit.params[0]), float(fit.bse[0])
    with np.errstate(over="ignore"):  # a fit that found no maximum: its ratio is infinite, and its p-value says nothing
        lower, upper = (float(np.exp(coefficient + sign * norm.ppf(0.975) * error)) for sign in (-1, 1))
    p_value = float(chi2.sf(max(2 * (fit.llf - without), 0.0), 1))
    return GainBeyond(float(np.exp(coefficient)), lower, upper, p_value)


def _not_fitted(reason: str) -> GainBeyond:
    return GainBeyond(np.nan, np.nan, np.nan, np.nan, reason)


def standardised_within(risk: ArrayLike, group: ArrayLike) -> np.ndarray:
    """(N,): `risk` with mean 0 and standard deviation 1 in each group (fold); 0 where a group does not vary."""
    values = pd.Series(np.asarray(risk, dtype=np.float64)).groupby(np.asarray(group))
    centred = values.transform(lambda of: of - of.mean())
    spread = values.transform(lambda of: of.std(ddof=0))
    return np.where(spread > 0, centred / spread.where(spread > 0, 1.0), centred * 0).astype(np.float64)


def _log_likelihood(time: np.ndarray, event: np.ndarray, columns: np.ndarray, stratum: np.ndarray) -> float:
    if columns.shape[1]:
        return float(_fit(time, event, columns, stratum).llf)
    nothing = PHReg(time, np.zeros((len(time), 1)), status=event.astype(int), strata=stratum, ties="efron")
    return float(nothing.loglike(np.zeros(1)))


def _fit(time: np.ndarray, event: np.ndarray, columns: np.ndarray, stratum: np.ndarray) -> PHRegResults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return PHReg(time, columns, status=event.astype(int), strata=stratum, ties="efron").fit(disp=0)
