"""Survival curves of the patients a source puts at high and at low risk, small enough to carry 676 in a page."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from cropkt.survival.percentile import risk_percentile
from cropkt.transfer.store import ResultsFolder

DAYS_PER_YEAR = 365.25
CENSOR_MARKS = 150
"""Marks of censored patients kept in a curve: more of them cannot be told apart on a screen."""
MOST_TICKS = 12
NEEDED = ["source_fold", "target_fold", "patient_id", "time", "event", "risk"]


@dataclass(frozen=True)
class Curve:
    """A Kaplan-Meier curve as its steps: survival falls to `survival` (K,) at `time` (K,) days, from 1 at day 0.

    lower, upper: (K,) ends of its pointwise 95 % interval (log-log); 0 where survival is 0 and there is none.
    censored: (C,) days at which patients left without an event, at most CENSOR_MARKS. at_risk: patients at each of the
    pair's `ticks`. patients, events: how many the curve rests on.
    """

    time: np.ndarray
    survival: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    censored: np.ndarray
    at_risk: np.ndarray
    patients: int
    events: int


@dataclass(frozen=True)
class Difference:
    """The log-rank test between two groups, and the hazard ratio that goes with it; NaN where there is no test.

    ratio: hazard of the first group over that of the second, exp((observed - expected events) / variance), with its
    95 % interval `lower` to `upper` (Peto's estimate; Yusuf et al. 1985). It leans to 1 where the ratio is large.
    """

    chi_square: float = np.nan
    p_value: float = np.nan
    ratio: float = np.nan
    lower: float = np.nan
    upper: float = np.nan


@dataclass(frozen=True)
class RiskCurves:
    """A pair's two curves, how they differ, and `ticks`, the years of their at_risk."""

    high: Curve
    low: Curve
    difference: "Difference"
    ticks: np.ndarray


def risk_groups(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per source and patient: source, patient_id, target_fold, time, event, percentile, high.

    A patient's percentile is its rank among the patients of the same test fold, for each model by itself, averaged over
    the source's models. `high` is a percentile above the median of the test fold. Nothing passes from fold to fold:
    neither a model's scale, nor how the patients of another fold were ranked.
    """
    finite = predictions[np.isfinite(predictions["risk"])]
    cell = finite.groupby(["source", "source_fold", "target_fold"])["risk"]
    percentile = cell.transform(lambda risk: risk_percentile(risk.to_numpy(dtype=np.float64)))
    by_patient = finite.assign(percentile=percentile).groupby(["source", "patient_id"], sort=True)
    table = by_patient.agg(
        target_fold=("target_fold", "first"),
        time=("time", "first"),
        event=("event", "first"),
        percentile=("percentile", "mean"),
    ).reset_index()
    median = table.groupby(["source", "target_fold"])["percentile"].transform("median")
    # Averaging ranks over five models leaves equal patients apart by a rounding error.
    return table.assign(high=table["percentile"] > median + 1e-9)


def risk_curves(groups: pd.DataFrame) -> RiskCurves | None:
    """Curves of one source's rows of `risk_groups`; None when either group is empty."""
    high = groups["high"].to_numpy(dtype=bool)
    if high.all() or not high.any():
        return None
    time = groups["time"].to_numpy(dtype=np.float64)
    event = groups["event"].to_numpy(dtype=bool)
    ticks = _ticks(float(time.max()) / DAYS_PER_YEAR)
    higher, lower = (_curve(time[group], event[group], ticks) for group in (high, ~high))
    return RiskCurves(higher, lower, log_rank(time, event, high), ticks)


def log_rank(time: np.ndarray, event: np.ndarray, high: np.ndarray) -> Difference:
    """How patients of `high` (N,) differ from the others, by scikit-survival's test; NaN when nobody has an event."""
    if not event.any():
        return Difference()
    try:
        chi_square, p_value, table, covariance = compare_survival(
            Surv.from_arrays(event, time), high, return_stats=True
        )
    except np.linalg.LinAlgError:  # all events fall where only one group is at risk: the test has no variance
        return Difference()
    variance = covariance[1, 1]
    log_ratio, reach = table["statistic"].iloc[1] / variance, norm.ppf(0.975) / np.sqrt(variance)
    with np.errstate(over="ignore"):  # one patient against hundreds: infinite, and shown as unknown
        ratios = np.exp([log_ratio, log_ratio - reach, log_ratio + reach])
    return Difference(float(chi_square), float(p_value), *(float(ratio) for ratio in ratios))


def target_curves(results: ResultsFolder, target: str, sources: list[str]) -> Iterator[tuple[str, RiskCurves]]:
    """(source, curves) of every source whose predictions on `target` are there."""
    found = results.prediction_tables(target, sources, NEEDED)
    if not found:
        return
    tables = [table.assign(source=source) for source, table in found.items()]
    for name, groups in risk_groups(pd.concat(tables, ignore_index=True)).groupby("source", sort=False):
        curves = risk_curves(groups)
        if curves is not None:
            yield str(name), curves


def _curve(time: np.ndarray, event: np.ndarray, ticks: np.ndarray) -> Curve:
    times, survival, (lower, upper) = kaplan_meier_estimator(event, time, conf_type="log-log")
    falls = np.diff(survival, prepend=1.0) < 0
    censored = np.unique(time[~event])
    if len(censored) > CENSOR_MARKS:
        censored = censored[np.linspace(0, len(censored) - 1, CENSOR_MARKS).round().astype(int)]
    at_risk = (time[None, :] >= ticks[:, None] * DAYS_PER_YEAR).sum(axis=1)
    # The last patient's day closes the curve, else it would seem to end at the last event.
    days = np.append(times[falls], time.max())
    survival, lower, upper = (np.append(values[falls], values[-1]) for values in (survival, lower, upper))
    return Curve(days, survival, lower, upper, censored, at_risk, len(time), int(event.sum()))


def _ticks(years: float) -> np.ndarray:
    """Round years from 0, at most MOST_TICKS of them."""
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if years / step < MOST_TICKS)
    return np.arange(0, years + 1e-9, step)
