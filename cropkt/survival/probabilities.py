"""How good survival probabilities are: do as many die as they say, and do they tell more than the Kaplan-Meier curve?

scikit-survival has Uno's C-index and the Brier score. D-calibration and the test by expected events are written here:
the package that has them (SurvivalEVAL) brings osqp, lifelines and patsy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

CENSORING_ASSUMPTION = (
    "Patients who left, or who died of something else, are taken to have been as likely to die of the disease later as "
    "similar patients who stayed. Uno's C-index and the Brier score also assume that leaving is unrelated to the risk."
)
BINS = 10
FEWEST_EXPECTED = 5.0
"""Expected events in a bin of the test by expected events."""


@dataclass(frozen=True)
class Calibration:
    """observed, expected: (bins,) patients or events. p_value: of "the probabilities are right"; NaN if it cannot be
    tested."""

    observed: np.ndarray
    expected: np.ndarray
    statistic: float
    p_value: float


def uno_c_index(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, *, censoring: tuple[ArrayLike, ArrayLike]
) -> float:
    """Uno's C-index up to `horizon` days: a pair weighs more the less likely its earlier patient was still followed.

    So, unlike Harrell's, it does not depend on follow-up, and cohorts cut at one horizon can be compared. censoring:
    times and events of the patients from whom follow-up is estimated, normally all of the cohort. NaN without a
    comparable pair before the horizon, or where those patients are not followed as long.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    followed_time, followed_event = np.asarray(censoring[0], dtype=np.float64), np.asarray(censoring[1]).astype(bool)
    first = event & (time < horizon)
    if not (first.any() and (time > time[first].min()).any()) or followed_time.max() < horizon:
        return float("nan")
    followed = Surv.from_arrays(followed_event, followed_time)
    return float(concordance_index_ipcw(followed, Surv.from_arrays(event, time), np.asarray(risk), tau=horizon)[0])


def brier_gain(
    time: ArrayLike,
    event: ArrayLike,
    survival: np.ndarray,
    reference: np.ndarray,
    times: ArrayLike,
    *,
    censoring: tuple[ArrayLike, ArrayLike],
) -> float:
    """1 - integrated Brier score of `survival` over that of `reference`: 0 is no better, below 0 worse.

    time, event: (N,). survival, reference: (N, T) at `times` (T,), days in ascending order and below the end of
    follow-up; reference is the training patients' Kaplan-Meier curve. censoring: as for `uno_c_index`. Censoring is
    weighted by its inverse probability (Graf et al. 1999). NaN where no time lies within the patients' follow-up.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    followed_time, followed_event = np.asarray(censoring[0], dtype=np.float64), np.asarray(censoring[1]).astype(bool)
    times = np.asarray(times, dtype=np.float64)
    within = (times >= time.min()) & (times < min(time.max(), followed_time.max()))
    known = np.isfinite(survival).all(axis=0) & np.isfinite(reference).all(axis=0) & within
    if known.sum() < 2:
        return float("nan")
    # Whoever is followed beyond all others is alive at every time asked for, however long.
    late = time > followed_time.max()
    patients = Surv.from_arrays(event & ~late, np.minimum(time, followed_time.max()))
    followed = Surv.from_arrays(followed_event, followed_time)
    score, worth = (
        integrated_brier_score(followed, patients, curves[:, known], times[known]) for curves in (survival, reference)
    )
    return float(1 - score / worth) if worth > 0 else float("nan")


def kaplan_meier(time: ArrayLike, event: ArrayLike, times: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Survival (T,) at `times` (T,) and its standard error by Greenwood's formula."""
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    moments, survival = kaplan_meier_estimator(event, time)
    at_risk = (time[:, None] >= moments).sum(axis=0)
    deaths = ((time[:, None] == moments) & event[:, None]).sum(axis=0)
    left = np.maximum(at_risk - deaths, 1)  # where none is left, survival and its error are 0
    error = survival * np.sqrt(np.cumsum(deaths / (at_risk * left)))
    place = np.searchsorted(moments, times, side="right")
    return np.concatenate([[1.0], survival])[place], np.concatenate([[0.0], error])[place]


def d_calibration(event: ArrayLike, survival: ArrayLike, bins: int = BINS) -> Calibration:
    """Haider et al. (JMLR 2020): survival probabilities at the patients' own times are uniform if they are right.

    event: (N,); survival: (N,), each patient's predicted probability to live longer than its own time. Someone censored
    at probability c would have died uniformly below c, and is spread over those bins. Spread patients vary less than
    Pearson's test takes them to: under censoring its p-values are too large (docs/significance.md), so this one is for
    comparison with the literature and `event_calibration` is the test.
    """
    event = np.asarray(event).astype(bool)
    survival = np.clip(np.asarray(survival, dtype=np.float64), 1e-12, 1.0)
    lower, upper = np.arange(bins) / bins, np.arange(1, bins + 1) / bins
    place = np.minimum((survival * bins).astype(int), bins - 1)
    share = np.zeros((len(survival), bins))
    share[event, place[event]] = 1.0
    censored = survival[~event, None]
    share[~event] = (np.clip(censored, lower, upper) - lower) / censored
    observed, expected = share.sum(axis=0), np.full(bins, len(survival) / bins)
    statistic = float(np.square(observed - expected).sum() / (len(survival) / bins)) if len(survival) else np.nan
    return Calibration(observed, expected, statistic, float(chi2.sf(statistic, bins - 1)))


def event_calibration(event: ArrayLike, survival: ArrayLike, bins: int = BINS) -> Calibration:
    """Observed against expected events by bins of predicted cumulative hazard (Akritas 1988; "A-calibration").

    event, survival: as for `d_calibration`. A patient passes through cumulative hazards from 0 to -log(survival) at its
    own time, and dies on the way with exactly that intensity if the probabilities are right, whenever it is censored.
    Observed less expected events of the bins are uncorrelated, with the expected ones as variance, so the sum of their
    squares over the expected is chi-square with one degree of freedom per bin. Bins have equally many expected events,
    FEWEST_EXPECTED or more; the p-value is NaN where not even one bin has as many.
    """
    event = np.asarray(event).astype(bool)
    hazard = -np.log(np.clip(np.asarray(survival, dtype=np.float64), 1e-12, 1.0))
    total = float(hazard.sum())
    bins = int(min(bins, total // FEWEST_EXPECTED))
    if bins < 1:
        return Calibration(np.array([event.sum()]), np.array([total]), np.nan, np.nan)
    ordered = np.sort(hazard)
    # Exposure below a hazard h is the sum of min(hazard, h), which rises linearly between the patients' own.
    exposure = np.cumsum(ordered) + ordered * np.arange(len(ordered) - 1, -1, -1)
    inner = np.interp(total * np.arange(1, bins) / bins, np.append(0, exposure), np.append(0, ordered))
    edges = np.concatenate([[0.0], inner, [ordered[-1] + 1]])
    expected = np.diff(np.minimum(hazard[:, None], edges).sum(axis=0))
    observed = np.histogram(hazard[event], edges)[0]
    statistic = float((np.square(observed - expected) / expected).sum())
    return Calibration(observed, expected, statistic, float(chi2.sf(statistic, bins)))
