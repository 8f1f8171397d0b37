"""From whom a cohort would borrow, how sure that is, and which C-index to expect, for a cohort of any size.

Weights: the prior's log-risk of a patient is a sum over lenders; a lender's weight is its part's covariance with the
sum over the target's patients, over the sum's variance. Weights add up to 1; a negative one works against the others.
Their intervals draw the lenders' own outcomes anew, as far as their summaries tell: r ~ N(r, H).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import norm

from cropkt.borrowing.lenders import Lenders
from cropkt.borrowing.prior import CohortModel, fit_cohort_model
from cropkt.seeds import generator

REDRAWN = 50
"""How often the lenders' summaries are drawn anew."""
FEWEST_LENDERS = 8
"""With fewer cohorts that lend, borrowing has not been shown to help (docs/borrowing.md)."""
COIN = 0.45, 0.6
"""Between these, whether borrowing gains is about a coin's throw; below, the target's outcomes speak against it."""


def recommendation_path(out: Path, encoder: str, target: str) -> Path:
    """Where the recommendation for a target is kept under the results folder `out`."""
    return out / "borrowing" / encoder / "recommendations" / f"{target}.json"


@dataclass(frozen=True)
class LenderWeight:
    """A cohort as a lender. weight: its part in the borrowed risk, with a 95 % interval; NaN where nothing is lent.

    distance: of its centroid from the target's, in units of the median distance between lenders. sharing: probability
    that it goes with the other lenders. lends: False for a cohort that runs its own way.
    """

    cohort: str
    weight: float
    lower: float
    upper: float
    distance: float
    sharing: float
    patients: int
    events: int
    lends: bool


@dataclass(frozen=True)
class Expectation:
    """The C-index to expect, with a 95 % interval for a cohort of its own; measured on so many other `cohorts`.

    own: the target's own cross-validated C-index, NaN where its outcomes tell none; it counts by its precision.
    """

    c_index: float
    lower: float
    upper: float
    cohorts: int
    own: float = np.nan


def lender_weights(lenders: Lenders, features: np.ndarray, *, seed: int = 0) -> list[LenderWeight]:
    """Every lender, the weightiest first, for a target whose patients have `features` (N, D)."""
    model = lenders.model
    scores, centroid = lenders.axes.project(features), lenders.axes.centroid(features)
    weight = _shares(model, scores, centroid)
    random = generator(seed, "summaries drawn anew")
    drawn = np.stack([_shares(_redrawn(model, random), scores, centroid) for _ in range(REDRAWN)])
    lower, upper = np.quantile(drawn, [0.025, 0.975], axis=0)
    centroids = np.stack([summary.centroid for summary in model.summaries])
    between = np.linalg.norm(centroids[:, None] - centroids[None], axis=-1)
    unit = float(np.median(between[between > 0])) if (between > 0).any() else 1.0
    rows = []
    for number, summary in enumerate(model.summaries):
        distance = float(np.linalg.norm(summary.centroid - centroid)) / unit
        sharing, counts = lenders.sharing[summary.cohort], (summary.patients, summary.events)
        found = float(weight[number]), float(lower[number]), float(upper[number])
        rows.append(LenderWeight(summary.cohort, found[0], found[1], found[2], distance, sharing, *counts, lends=True))
    return sorted(rows, key=lambda row: -row.weight) + [_apart(lenders, cohort) for cohort in lenders.apart]


def _apart(lenders: Lenders, code: str) -> LenderWeight:
    unknown = float("nan")
    return LenderWeight(code, unknown, unknown, unknown, unknown, lenders.sharing[code], 0, 0, lends=False)


def _shares(model: CohortModel, scores: np.ndarray, centroid: np.ndarray) -> np.ndarray:
    """(C,) weights that add up to 1."""
    parts = scores @ model.prior(centroid).contributions.T
    centred = parts - parts.mean(axis=0)
    together = centred.sum(axis=1)
    variance = float(together @ together)
    return np.asarray(centred.T @ together / variance) if variance > 0 else np.zeros(parts.shape[1])


def _redrawn(model: CohortModel, random: np.random.Generator) -> CohortModel:
    """The model of summaries whose r is drawn from what its H leaves open; hyper-parameters stay."""
    summaries = []
    for summary in model.summaries:
        values, vectors = np.linalg.eigh(summary.information)
        noise = vectors @ (np.sqrt(np.maximum(values, 0.0)) * random.normal(size=len(values)))
        summaries.append(replace(summary, linear=summary.linear + noise))
    return fit_cohort_model(summaries, model.hyperparameters)


def expect(
    c_indices: Sequence[float], errors: Sequence[float], *, own: float = np.nan, own_error: float = np.nan
) -> Expectation:
    """What a cohort may expect where other cohorts, left out in turn, had `c_indices` with standard `errors`.

    Cohorts scatter by more than their errors; the scatter is DerSimonian and Laird's. The target's own C-index, where
    it is known, is one more measurement of its own value.
    """
    values, variance = np.asarray(c_indices, dtype=float), np.square(np.asarray(errors, dtype=float))
    usable = np.isfinite(values) & np.isfinite(variance) & (variance > 0)
    values, variance = values[usable], variance[usable]
    if len(values) < 2:
        return Expectation(np.nan, np.nan, np.nan, len(values), own)
    fixed = 1 / variance
    mean = float(fixed @ values / fixed.sum())
    excess = float(fixed @ np.square(values - mean)) - (len(values) - 1)
    scatter = max(0.0, excess / float(fixed.sum() - np.square(fixed).sum() / fixed.sum()))
    weight = 1 / (variance + scatter)
    mean, spread = float(weight @ values / weight.sum()), float(scatter + 1 / weight.sum())
    if np.isfinite(own) and np.isfinite(own_error) and own_error > 0:
        precision = 1 / spread + 1 / own_error**2
        mean, spread = (mean / spread + own / own_error**2) / precision, 1 / precision
    reach = float(norm.ppf(0.975)) * np.sqrt(spread)
    return Expectation(mean, max(0.0, mean - reach), min(1.0, mean + reach), len(values), own)


def advice(*, probability: float, lending: int, events: int, needed: float, expected: Expectation) -> str:
    """One sentence for the person who asks. `probability` NaN: no outcomes; `needed` NaN: not known."""
    if lending < FEWEST_LENDERS:
        return (
            f"Only {lending} cohorts lend; borrowing has not been shown to help with fewer than {FEWEST_LENDERS}, and "
            "has hurt with three."
        )
    if probability < COIN[0]:
        return "Do not borrow: this cohort's own outcomes speak against the others'."
    if events >= needed:
        return f"{events} events are enough to do without: an own model is as good from about {needed:.0f} on."
    if probability < COIN[1]:
        return "It hardly matters: the other cohorts foretell so little here that a gain is about a coin's throw."
    if expected.lower <= 0.5:
        return "Borrow with care: on cohorts like this one the result may be no better than chance."
    return "Borrow."
