"""Restricted mean survival time, days lived within a horizon: how aggressive a disease is, and each patient's part.

scikit-survival has the Kaplan-Meier curve, not the area under it nor the jackknife pseudo-observations (Andersen,
Hansen and Klein, Lifetime Data Analysis 2004): n times the area less n - 1 times the area without the patient. They
stand for survival times that censoring hides, so that methods for complete numbers can be used.
"""

import numpy as np
from sksurv.nonparametric import kaplan_meier_estimator

HORIZON = 3 * 365
"""Days. Long enough for deaths in slow cohorts, and in every TCGA cohort some patients are followed as long."""
HORIZONS = {"1y": 365, "2y": 2 * 365, "3y": HORIZON, "5y": 5 * 365}


def restricted_mean(time: np.ndarray, event: np.ndarray, horizon: float) -> float:
    """Area under the Kaplan-Meier curve up to `horizon`, in the unit of time (N,); level past the last time."""
    times, survival = kaplan_meier_estimator(np.asarray(event, dtype=bool), time)
    return float(_area(times, survival[None], horizon)[0])


def pseudo_observations(time: np.ndarray, event: np.ndarray, horizon: float) -> np.ndarray:
    """(N,) jackknife pseudo-observations of the restricted mean; without censoring they are min(time, horizon)."""
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    moments = np.unique(time[event])
    if not len(moments):
        return np.full(len(time), float(horizon))
    at_risk = (time[:, None] >= moments).sum(axis=0) - (time[:, None] >= moments)
    deaths = (time[event][:, None] == moments).sum(axis=0) - ((time[:, None] == moments) & event[:, None])
    without = np.cumprod(1 - deaths / np.maximum(at_risk, 1), axis=1)
    areas = _area(moments, without, horizon)
    return len(time) * restricted_mean(time, event, horizon) - (len(time) - 1) * areas


def median_follow_up(time: np.ndarray, event: np.ndarray) -> float:
    """Median time to censoring by the reverse Kaplan-Meier curve (Schemper and Smith 1996); NaN if never half."""
    censored = ~np.asarray(event, dtype=bool)
    if not censored.any():
        return float("nan")
    times, left = kaplan_meier_estimator(censored, time)
    below = np.flatnonzero(left <= 0.5)
    return float(times[below[0]]) if len(below) else float("nan")


def _area(times: np.ndarray, survival: np.ndarray, horizon: float) -> np.ndarray:
    """(M,) areas up to `horizon` under step curves that fall to survival (M, K) at times (K,), from 1 at 0."""
    edges = np.concatenate([[0.0], np.minimum(times, horizon), [horizon]])
    height = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
    return height @ np.diff(edges)
