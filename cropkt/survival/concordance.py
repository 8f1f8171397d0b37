"""Harrell's C-index with its standard error, within a fold, averaged over folds and pooled over folds.

Two patients i, j are comparable when i has an event and t_i < t_j, or t_i = t_j and j is censored. Such a pair is
concordant when i has the higher risk; risks that differ by at most 1e-8 are tied and count one half. These are the
rules, counts and ties of scikit-survival's `concordance_index_censored`. A higher risk means an earlier event.

The standard error is that of the U-statistic (Kang et al., Statistics in Medicine 2015): C - c is to first order the
mean over comparable pairs of (pair's score - c), and each patient's influence d_k is the sum of what its pairs
contribute. Then var(C) = sum over patients of d_k^2. Estimates that share patients are compared through their
influences: var(C_1 - C_2) = sum of (d_1k - d_2k)^2. So what several models say of the same patients is never taken for
independent evidence. The error is that of drawing patients; the models are taken as they are.

Undefined is NaN with a reason, never 0 or 0.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import t as student_t

TIED_RISK = 1e-8
PATIENTS_AT_ONCE = 512
"""Rows of the patient x patient comparison made at a time, so that memory stays flat in large cohorts."""


@dataclass(frozen=True)
class Concordance:
    """A C-index and what it rests on.

    Counts are of comparable pairs; `tied_time` of them are an event and a patient censored at that very time.
    pairs: (N,) float64, comparable pairs each patient is in. score: (N,), those that are concordant, ties one half.
    compared_event: (N,) bool, patients whose event comes before somebody's time, so that it says something.
    reason: why c_index is NaN, else "".
    """

    c_index: float
    concordant: int
    discordant: int
    tied_risk: int
    tied_time: int
    pairs: np.ndarray
    score: np.ndarray
    compared_event: np.ndarray
    reason: str = ""

    @property
    def comparable(self) -> int:
        """Comparable pairs of patients."""
        return self.concordant + self.discordant + self.tied_risk

    def influence(self, centre: float) -> np.ndarray:
        """(N,): each patient's part in c_index - centre, NaN where there is no c_index."""
        if not self.comparable:
            return np.full(len(self.pairs), np.nan)
        return (self.score - centre * self.pairs) / self.comparable

    @property
    def standard_error(self) -> float:
        """Of c_index, NaN where it has none."""
        return standard_error(self.influence(self.c_index))


@dataclass(frozen=True)
class CombinedConcordance:
    """A C-index made of several cells (model x test fold).

    comparable: distinct pairs of patients that at least one model compares. cells_used: cells with a comparable pair.
    events: distinct patients whose event comes first in such a pair, which is what intervals and p-values count: an
    event after which nobody of the fold is left says nothing.
    influence: (N,) float64, each patient's part in c_index - c over all cells; its squares sum to the variance.
    """

    c_index: float
    comparable: int
    cells_used: int
    events: int
    influence: np.ndarray

    @property
    def standard_error(self) -> float:
        """Of c_index, NaN where it has none."""
        return standard_error(self.influence)


@dataclass(frozen=True)
class FoldScores:
    """`cells[m, f]` is model m on test fold f, for cells with a patient; `pooled` and `mean` combine all cells."""

    cells: dict[tuple[int, int], Concordance]
    pooled: CombinedConcordance
    mean: CombinedConcordance


def concordance(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> Concordance:
    """Harrell's C-index of `risk` (N,) for times (N,) and events (N,) 0/1.

    Raises ValueError for NaN or infinite risks.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    risk = np.asarray(risk)
    if not np.isfinite(risk).all():
        raise ValueError(f"{int((~np.isfinite(risk)).sum())} of {len(risk)} risks are NaN or infinite")
    concordants = ties = comparables = ties_in_time = 0
    pairs, score, compared_event = np.zeros(len(time)), np.zeros(len(time)), np.zeros(len(time), dtype=bool)
    for rows, comparable, tied_time in _comparable(time, event):
        difference = risk[rows, None] - risk[None, :]
        tied = comparable & (np.abs(difference) <= TIED_RISK)
        concordant = comparable & ~tied & (difference > 0)
        concordants += int(concordant.sum())
        ties += int(tied.sum())
        comparables += int(comparable.sum())
        ties_in_time += tied_time
        compared_event[rows] = comparable.any(axis=1)
        value = concordant + 0.5 * tied
        for per_patient, matrix in ((pairs, comparable), (score, value)):
            per_patient[rows] += matrix.sum(axis=1)
            per_patient += matrix.sum(axis=0)
    c_index = (concordants + 0.5 * ties) / comparables if comparables else np.nan
    reason = "" if comparables else _why_undefined(event)
    discordants = comparables - concordants - ties
    return Concordance(c_index, concordants, discordants, ties, ties_in_time, pairs, score, compared_event, reason)


def score_folds(
    time: ArrayLike,
    event: ArrayLike,
    risk: Float[np.ndarray, "M N"],
    tested_in: Integer[np.ndarray, " N"],
    valid: Bool[np.ndarray, "M N"],
) -> FoldScores:
    """C-indices of M models on the patients of a cohort, compared within test folds only.

    time, event, tested_in: (N,); tested_in is the fold that tests a patient, negative for none. risk, valid: (M, N);
    model m scores patient k where valid. A cell is a model on a test fold. `mean` averages the cells that have a
    comparable pair; `pooled` counts the comparable pairs of all cells together.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    tested_in = np.asarray(tested_in)
    cells: dict[tuple[int, int], Concordance] = {}
    members: dict[tuple[int, int], np.ndarray] = {}
    for fold in np.unique(tested_in[tested_in >= 0]):
        for m in range(len(risk)):
            chosen = np.flatnonzero((tested_in == fold) & valid[m])
            if len(chosen):
                key = (m, int(fold))
                members[key] = chosen
                cells[key] = concordance(time[chosen], event[chosen], risk[m, chosen])
    used = [key for key, cell in cells.items() if cell.comparable]
    weight_pooled = {key: cells[key].comparable for key in used}
    distinct = _distinct_pairs(time, event, cells, members)
    return FoldScores(
        cells,
        pooled=_combine(cells, members, weight_pooled, len(time), distinct),
        mean=_combine(cells, members, dict.fromkeys(used, 1), len(time), distinct),
    )


def score_all(
    time: ArrayLike, event: ArrayLike, risk: Float[np.ndarray, "M N"], valid: Bool[np.ndarray, "M N"]
) -> CombinedConcordance:
    """C-index of M models over all comparable pairs of patients, whatever fold tests them.

    For models that know none of these patients, as the models of another cohort: each scores everybody on one scale, so
    folds need not divide the patients. time, event: (N,); risk, valid: (M, N), model m scores patient k where valid.
    The models' comparable pairs are counted together; what they say of the same patients is correlated, and a patient's
    influence is the sum of its influences on all of them. Models trained on folds of these very patients are compared
    within folds only (`score_folds`): each knows the other folds' patients.
    """
    return score_folds(time, event, risk, np.zeros(len(np.asarray(time)), dtype=np.int64), valid).pooled


def _combine(
    cells: dict[tuple[int, int], Concordance],
    members: dict[tuple[int, int], np.ndarray],
    weights: dict[tuple[int, int], int],
    n_patients: int,
    comparable: int,
) -> CombinedConcordance:
    """The weighted mean of the cells' C-indices.

    Influences are centred on the combined C-index, not on each cell's own: a cell with one event has no error around
    itself, yet differs from other cells by chance.
    """
    total = sum(weights.values())
    if not total:
        return CombinedConcordance(np.nan, 0, 0, 0, np.full(n_patients, np.nan))
    c_index = sum(weight * cells[key].c_index for key, weight in weights.items()) / total
    influence, compared_event = np.zeros(n_patients), np.zeros(n_patients, dtype=bool)
    for key, weight in weights.items():
        influence[members[key]] += weight / total * cells[key].influence(c_index)
        compared_event[members[key]] |= cells[key].compared_event
    return CombinedConcordance(float(c_index), comparable, len(weights), int(compared_event.sum()), influence)


def _distinct_pairs(
    time: np.ndarray,
    event: np.ndarray,
    cells: dict[tuple[int, int], Concordance],
    members: dict[tuple[int, int], np.ndarray],
) -> int:
    """Distinct comparable pairs. Models of a fold mostly score the same patients; only where not are pairs counted."""
    total = 0
    for fold in {fold for _, fold in cells}:
        of_fold = [key for key in cells if key[1] == fold]
        scored = [members[key] for key in of_fold]
        if all(np.array_equal(scored[0], other) for other in scored[1:]):
            total += cells[of_fold[0]].comparable
            continue
        everyone = np.unique(np.concatenate(scored))
        together = np.zeros((len(everyone), len(everyone)), dtype=bool)
        for other in scored:
            there = np.isin(everyone, other)
            together |= there[:, None] & there[None, :]
        for rows, comparable, _ in _comparable(time[everyone], event[everyone]):
            total += int((comparable & together[rows]).sum())
    return total


def _comparable(time: np.ndarray, event: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Some patients with events (rows), their comparability with everybody (rows, N), and tied times among them."""
    with_event = np.flatnonzero(event)
    for start in range(0, len(with_event), PATIENTS_AT_ONCE):
        rows = with_event[start : start + PATIENTS_AT_ONCE]
        tied_time = (time[None, :] == time[rows, None]) & ~event[None, :]
        yield rows, (time[None, :] > time[rows, None]) | tied_time, int(tied_time.sum())


def _why_undefined(event: np.ndarray) -> str:
    if len(event) < 2:
        return "fewer than two patients"
    return "no comparable pair" if event.any() else "no event"


def standard_error(influence: Float[np.ndarray, " N"]) -> float:
    """Root of the sum of squared influences (NaN of none); of a difference, give the difference of two influences."""
    return float(np.sqrt(np.sum(np.square(influence)))) if len(influence) else np.nan


def confidence_interval(c_index: float, error: float, events: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a C-index: symmetric on the logit scale, which keeps it between 0 and 1.

    events: those that a comparable pair rests on, `CombinedConcordance.events`. Few events among many patients are few
    independent facts: as for a mean of e facts, the error is widened by root(e / (e - 1)), for the squared influences
    divide by e^2, and the quantile is Student's t with e - 1 degrees of freedom. Chosen by simulation at the patients,
    events and follow-up of 26 real cohorts (interval_rules.py, docs/significance.md). (NaN, NaN) where nothing can be
    said: fewer than two events, or an error of 0, which only tiny samples have.
    """
    if not _has_error(c_index, error, events):
        return np.nan, np.nan
    reach = _quantile(level, events) * error / (c_index * (1 - c_index))
    return float(expit(logit(c_index) - reach)), float(expit(logit(c_index) + reach))


def p_value_against(c_index: float, error: float, events: int, value: float = 0.5) -> float:
    """Two-sided p-value of "the C-index is `value`", the one that goes with `confidence_interval`; NaN as there."""
    if not _has_error(c_index, error, events):
        return np.nan
    return _p_value((logit(c_index) - logit(value)) * c_index * (1 - c_index) / error, events)


def p_value_of_difference(difference: float, error: float, events: int) -> float:
    """Two-sided p-value of "two C-indices of the same patients are equal"; NaN without an error.

    `error` is `standard_error(influence_1 - influence_2)`, `events` those on which both C-indices rest.
    """
    if not (np.isfinite(difference) and error > 0 and events >= 2):
        return np.nan
    return _p_value(difference / error, events)


def difference_interval(difference: float, error: float, events: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a difference of two C-indices, the one that goes with `p_value_of_difference`; NaN as there."""
    if not (np.isfinite(difference) and error > 0 and events >= 2):
        return np.nan, np.nan
    reach = _quantile(level, events) * error
    return difference - reach, difference + reach


def smallest_difference(error: float, events: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """The true difference of two C-indices that a two-sided test at `level` finds with probability `power`.

    `error` is the difference's standard error; NaN without one, as in `p_value_of_difference`.
    """
    if not (error > 0 and events >= 2):
        return np.nan
    found = _quantile(1 - level, events) + student_t.ppf(power, events - 1) * _widening(events)
    return float(found * error)


def _quantile(level: float, events: int) -> float:
    """How many errors an interval of that level reaches to each side."""
    return float(student_t.ppf(0.5 + level / 2, events - 1)) * _widening(events)


def _p_value(errors: float, events: int) -> float:
    return float(2 * student_t.sf(abs(errors) / _widening(events), events - 1))


def _widening(events: int) -> float:
    return float(np.sqrt(events / (events - 1)))


def _has_error(c_index: float, error: float, events: int) -> bool:
    return bool(np.isfinite(c_index) and error > 0 and 0 < c_index < 1 and events >= 2)
