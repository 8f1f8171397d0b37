"""Tests that respect a matrix of pairs, by permuting cohorts' labels.

A source's cells share the source, a target's cells share the target and its patients, so 650 cells are far from 650
facts. Permuting rows and columns together keeps all of that (quadratic assignment, QAP; Mantel 1967, Krackhardt 1988).
Other factors are held fixed by double semi-partialling (Dekker, Krackhardt and Snijders 2007): what is permuted is the
part of the factor that they do not explain, and the statistic is a t, whose scale does not depend on them.

QAP has a blind spot. Sources that are alike rank a target's patients alike, right or wrong, so their cells go up and
down together; where the factor is alike for them too, chance looks like an effect. Permuting the labels of targets
alone leaves that likeness in place, and permuting those of sources alone leaves the likeness between targets (ter
Braak, Cormont and Dray, Ecology 2012, do so for sites and species). Alone, these two are not enough for a factor that
is the same in both directions. The largest of the three p-values is what counts; docs/factors.md shows their sizes.

Factors of a pair are tested within sources and targets: both have free effects. Factors of a source (target) are tested
on the source (target) effects themselves, one number a cohort.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 1999
AT_ONCE = 250


@dataclass(frozen=True)
class PermutationTest:
    """Slope of the outcome on the factor, its t statistic, two-sided p-values, and the share of the outcome's variance
    that the factor explains beyond what is held fixed.

    p_qap: labels permuted on both sides together. p_value: the largest of that one and those of either side alone; for
    a factor of a cohort, which has one side only, the same as p_qap.
    """

    slope: float
    statistic: float
    p_qap: float
    p_value: float
    explained: float


def permute_pair_factor(
    outcome: np.ndarray,
    factor: np.ndarray,
    others: Sequence[np.ndarray],
    weight: np.ndarray,
    random: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> PermutationTest:
    """Does `factor` (C, C) go with `outcome` (C, C), source, target and `others` (C, C) held fixed?

    Outcomes that are NaN, and the diagonal, are not used; weight (C, C) is each cell's. Other NaN factors count as
    their mean.
    """
    cohorts = len(outcome)
    used = np.isfinite(outcome) & ~np.eye(cohorts, dtype=bool)
    rows = np.nonzero(used)
    dummies = np.zeros((len(rows[0]), 2 * cohorts))
    dummies[np.arange(len(rows[0])), rows[0]] = 1
    dummies[np.arange(len(rows[0])), cohorts + rows[1]] = 1
    fixed = np.column_stack([dummies, *(_filled(other)[used] for other in others)])
    residual = np.zeros((cohorts, cohorts))
    residual[used] = _residual(_filled(factor)[used][:, None], _basis(fixed))[:, 0]
    root = np.sqrt(weight[used])
    basis = _basis(fixed * root[:, None])
    y = _residual((outcome[used] * root)[:, None], basis)[:, 0]

    source, target = rows
    orders = _orders(cohorts, random, permutations)
    kept = np.broadcast_to(np.arange(cohorts), orders.shape)
    sides = ((orders, orders), (orders, kept), (kept, orders))
    found = []
    for rows_in, columns_in in sides:
        drawn = (residual[rows_in[at][:, source], columns_in[at][:, target]] * root for at in _batches(len(orders)))
        found.append(_permuted(y, basis, drawn))
    together, sources, targets = found
    return _judged(together, together.p_value, max(together.p_value, sources.p_value, targets.p_value))


def permute_cohort_factor(
    effect: np.ndarray,
    factor: np.ndarray,
    others: Sequence[np.ndarray],
    weight: np.ndarray,
    random: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> PermutationTest:
    """Does `factor` (C,) go with the cohorts' `effect` (C,), `others` (C,) held fixed? NaN are left out."""
    used = np.isfinite(effect) & np.isfinite(factor)
    count = int(used.sum())
    fixed = np.column_stack([np.ones(count), *(_filled(other)[used] for other in others)])
    residual = _residual(factor[used][:, None], _basis(fixed))[:, 0]
    root = np.sqrt(weight[used])
    basis = _basis(fixed * root[:, None])
    y = _residual((effect[used] * root)[:, None], basis)[:, 0]
    orders = _orders(count, random, permutations)
    found = _permuted(y, basis, (residual[orders[at]] * root for at in _batches(len(orders))))
    return _judged(found, found.p_value, found.p_value)


def cohort_effects(outcome: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source and target effects (C,) of outcome (C, C) by weighted least squares, each centred; NaN without a cell."""
    cohorts = len(outcome)
    used = np.isfinite(outcome) & ~np.eye(cohorts, dtype=bool)
    source, target = np.nonzero(used)
    design = np.zeros((len(source), 2 * cohorts))
    design[np.arange(len(source)), source] = 1
    design[np.arange(len(source)), cohorts + target] = 1
    root = np.sqrt(weight[used])
    found = np.linalg.lstsq(design * root[:, None], outcome[used] * root, rcond=None)[0]
    effects = np.where(used.any(axis=1), found[:cohorts], np.nan), np.where(used.any(axis=0), found[cohorts:], np.nan)
    return effects[0] - np.nanmean(effects[0]), effects[1] - np.nanmean(effects[1])


@dataclass(frozen=True)
class _Found:
    slope: float
    statistic: float
    p_value: float
    explained: float


def _orders(size: int, random: np.random.Generator, permutations: int) -> np.ndarray:
    """(1 + permutations, size): the given order, then random ones."""
    return np.array([np.arange(size), *(random.permutation(size) for _ in range(permutations))])


def _batches(count: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE))


def _permuted(y: np.ndarray, basis: np.ndarray, drawn: Iterable[np.ndarray]) -> _Found:
    """Slope and t of y (n,) on the factor in many orders, the given one first; batches `drawn` have a row an order."""
    degrees = len(y) - basis.shape[1] - 1
    slopes, statistics = [], []
    for batch in drawn:
        x = _residual(batch.T, basis)
        square = np.maximum(np.square(x).sum(axis=0), 1e-300)
        slope = y @ x / square
        noise = np.maximum(y @ y - slope**2 * square, 1e-300) / max(degrees, 1)
        slopes.append(slope)
        statistics.append(slope * np.sqrt(square / noise))
    t = np.concatenate(statistics)
    if degrees < 1 or not np.isfinite(t[0]) or abs(t[0]) < 1e-9:
        return _Found(float("nan"), float("nan"), float("nan"), float("nan"))
    # Orders that give the same statistic up to rounding are ties, and count.
    p_value = float((np.abs(t) >= abs(t[0]) * (1 - 1e-9)).sum() / len(t))
    return _Found(float(slopes[0][0]), float(t[0]), p_value, float(t[0] ** 2 / (t[0] ** 2 + degrees)))


def _judged(found: _Found, p_qap: float, p_value: float) -> PermutationTest:
    return PermutationTest(found.slope, found.statistic, p_qap, p_value, found.explained)


def _basis(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what `columns` span."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, values > values[0] * 1e-10]


def _residual(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return columns - basis @ (basis.T @ columns)


def _filled(factor: np.ndarray) -> np.ndarray:
    known = np.isfinite(factor)
    return np.where(known, factor, factor[known].mean() if known.any() else 0.0)
