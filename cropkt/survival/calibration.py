"""From a risk to survival probabilities: recalibrated on training patients, with intervals, while they are followed.

A model's risk ranks patients. Its hazards are no probabilities: the training loss gives censored patients half their
weight, and intervals that nobody reaches keep the hazard they started with. A Cox model of the risk alone, fitted to
training patients, brings the ranking to the cohort's own time scale: S(t | r) = exp(-H(t) exp(slope (r - mean) / sd)),
H Breslow's estimate. Beyond the follow-up of the training patients nothing is said.

The training patients' risk has to come from models that have not seen them (another cohort's models, or models of inner
folds). A model is too sure of patients it was trained on, and so would be the slope.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

FEWEST_EVENTS = 3
"""With fewer, no slope is learnt, and everybody has the training patients' curve."""
FEWEST_AT_RISK = 5
"""A curve ends where fewer training patients are still followed."""
RIDGE = 1.0
"""Penalty RIDGE / 2 * slope^2 on the log partial likelihood: a slope exists even where the risk ranks few events
perfectly, and with many events it changes little."""

LARGEST_EXPONENT = 500.0


@dataclass(frozen=True)
class Recalibration:
    """A Cox model of one standardised risk.

    centre, scale: of the training patients' risk. slope: log-hazard ratio for one standard deviation. times: (K,) days
    of training events. cumulative: (K,) baseline cumulative hazard there, at the mean risk. Its variance at another
    risk is variance (K,) + (drift - risk x cumulative)^2 x slope_variance (Tsiatis 1981). end: days, NaN beyond it.
    """

    centre: float
    scale: float
    slope: float
    slope_variance: float
    times: np.ndarray
    cumulative: np.ndarray
    variance: np.ndarray
    drift: np.ndarray
    end: float

    def survival(self, risk: ArrayLike, times: ArrayLike) -> np.ndarray:
        """(B, T) probability that patients with `risk` (B,) live longer than `times` (T,) days; NaN beyond `end`."""
        z = self._standardised(risk)
        times = np.asarray(times, dtype=np.float64)
        curve = np.exp(-np.exp(self.slope * z)[:, None] * self._at(self.cumulative, times))
        return np.where(times > self.end, np.nan, curve)

    def interval(self, risk: ArrayLike, times: ArrayLike, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (B, T) of `survival`, on the log scale of the cumulative hazard.

        They cover the chance of the training patients, with the risk as given, not how wrong the risk may be.
        """
        z = self._standardised(risk)[:, None]
        times = np.asarray(times, dtype=np.float64)
        hazard, drift = self._at(self.cumulative, times), self._at(self.drift, times)
        spread = np.sqrt(self._at(self.variance, times) + (drift - z * hazard) ** 2 * self.slope_variance)
        with np.errstate(divide="ignore", invalid="ignore"):  # before the first event the curve is at 1, without error
            reach = np.where(hazard > 0, norm.ppf(0.5 + level / 2) * spread / hazard, 0.0)
        of_patient = np.exp(self.slope * z) * hazard
        ends = (np.exp(-of_patient * np.exp(sign * reach)) for sign in (1, -1))
        lower, upper = (np.where(times > self.end, np.nan, end) for end in ends)
        return lower, upper

    def _standardised(self, risk: ArrayLike) -> np.ndarray:
        return (np.asarray(risk, dtype=np.float64) - self.centre) / self.scale

    def _at(self, values: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The step function `values` at `times`, 0 before the first event."""
        return np.concatenate([[0.0], values])[np.searchsorted(self.times, times, side="right")]


def recalibrate(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Recalibration:
    """Fit to training patients: time (N,) days, event (N,) 0/1, risk (N,) of models that have not seen them.

    Raises ValueError without a patient, or for risks that are NaN or infinite.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    risk = np.asarray(risk, dtype=np.float64)
    if not len(time) or not np.isfinite(risk).all():
        wrong = int((~np.isfinite(risk)).sum())
        raise ValueError(f"recalibration needs patients with a risk; {wrong} of {len(risk)} are NaN or infinite")
    centre, scale = float(risk.mean()), float(risk.std())
    scale = scale if scale > 0 else 1.0
    z = (risk - centre) / scale
    times = np.unique(time[event])
    at_risk = time[:, None] >= times
    deaths = ((time[:, None] == times) & event[:, None]).sum(axis=0)
    slope = _slope(z, at_risk, deaths, float(z[event].sum()))
    total, mean, square = _risk_sets(slope, z, at_risk)
    information = float((deaths * (square - mean**2)).sum()) + RIDGE
    return Recalibration(
        centre,
        scale,
        slope,
        1 / information if slope else 0.0,
        times,
        np.cumsum(deaths / total),
        np.cumsum(deaths / total**2),
        np.cumsum(mean * deaths / total),
        follow_up_end(time),
    )


def follow_up_end(time: ArrayLike, fewest: int = FEWEST_AT_RISK) -> float:
    """The last day on which `fewest` patients (all, if there are fewer) were still followed; time (N,) in days."""
    ordered = np.sort(np.asarray(time, dtype=np.float64))
    return float(ordered[-min(fewest, len(ordered))])


@dataclass(frozen=True)
class CrossFittedSurvival:
    """Each patient's curve by the recalibration of the fold that tests it. survival: (N, T) at the days asked for;
    at_own_time: (N,) at the patient's own time or, if that is later, at `end` (N,), the last day of its curve. NaN for
    patients whom no fold tests."""

    survival: np.ndarray
    at_own_time: np.ndarray
    end: np.ndarray


def cross_fit_survival(
    time: ArrayLike,
    event: ArrayLike,
    risk: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    times: ArrayLike,
) -> CrossFittedSurvival:
    """Recalibrate in each fold on its training patients, and apply to its test patients.

    time, event: (N,). splits: indices of training and of test patients. risk: (F, N), the risk to be used in each fold;
    for its training patients it must come from models that have not seen them. times: (T,) days.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event)
    survival = np.full((len(time), np.size(times)), np.nan)
    at_own_time, end = np.full((2, len(time)), np.nan)
    for of_fold, (train, test) in zip(risk, splits, strict=True):
        known = train[np.isfinite(of_fold[train])]
        test = test[np.isfinite(of_fold[test])]
        if not len(known) or not len(test):
            continue
        model = recalibrate(time[known], event[known], of_fold[known])
        survival[test] = model.survival(of_fold[test], times)
        end[test] = model.end
        own = np.minimum(time[test], model.end)
        at_own_time[test] = [model.survival([r], [t])[0, 0] for r, t in zip(of_fold[test], own, strict=True)]
    return CrossFittedSurvival(survival, at_own_time, end)


def _risk_sets(slope: float, z: np.ndarray, at_risk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each (T,): sum of exp(slope z) over those at risk, and the mean of z and of z^2 with these weights."""
    weight = at_risk * np.exp(slope * z)[:, None]
    total = weight.sum(axis=0)
    return total, (weight * z[:, None]).sum(axis=0) / total, (weight * z[:, None] ** 2).sum(axis=0) / total


def _slope(z: np.ndarray, at_risk: np.ndarray, deaths: np.ndarray, died: float) -> float:
    """Where Breslow's partial likelihood less the penalty is highest. died: sum of z over those who died.

    It is concave, and far from 0 the penalty wins, so its derivative has one root in an interval that exp can bear.
    """
    if deaths.sum() < FEWEST_EVENTS or z.std() == 0:
        return 0.0

    def derivative(slope: float) -> float:
        return died - float((deaths * _risk_sets(slope, z, at_risk)[1]).sum()) - RIDGE * slope

    furthest = LARGEST_EXPONENT / float(np.abs(z).max())
    return float(brentq(derivative, -furthest, furthest, xtol=1e-9))
