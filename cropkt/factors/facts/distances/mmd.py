"""Maximum mean discrepancy between cohorts, unbiased, with patients as the units that were sampled.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) for patches x, x' of different patients of one population and y, y' of the
other (Gretton et al., JMLR 2012, eq. 3, with a patient's mean kernel for a point's). Leaving out pairs of patches of
one patient matters: they are alike, and would make a cohort look far from its own other half.
The kernel is Gaussian, exp(-|x - y|^2 / (2 s^2)); kernels are exact, no random features are needed at this size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cropkt.factors.facts.distances import Distance, DistanceMatrix
from cropkt.factors.facts.points import CohortPoints
from cropkt.seeds import generator

BANDWIDTHS = (0.5, 1.0, 2.0)
"""In medians of the distance between two points of all cohorts; each is twice the last one (see `_kernels`)."""
ROWS_AT_ONCE = 1024
MEDIAN_FROM = 2000


@dataclass(frozen=True)
class Discrepancy:
    """MMD^2 of all pairs of C cohorts: value and standard_error (W, C, C), by the W bandwidths, 0 on the diagonal."""

    bandwidths: np.ndarray
    value: np.ndarray
    standard_error: np.ndarray


def median_distance(points: np.ndarray, seed: int) -> float:
    """Median distance between points (N, D), from a seeded sample of them."""
    chosen = generator(seed, "factors", "median distance").permutation(len(points))[:MEDIAN_FROM]
    some = torch.from_numpy(np.ascontiguousarray(points[np.sort(chosen)], dtype=np.float32))
    return float(torch.pdist(some).median())


def maximum_mean_discrepancy(points: Sequence[np.ndarray], owner: Sequence[np.ndarray], median: float) -> Discrepancy:
    """MMD^2 between C cohorts: points (n, D) of each and the patient, 0, 1, ..., that each point belongs to.

    Bandwidths are `median` times BANDWIDTHS. The standard error is the jackknife's over patients. Every cohort needs
    three patients.
    """
    counts = [int(of.max()) + 1 for of in owner]
    if min(counts) < 3:
        raise ValueError(f"every cohort needs three patients; they have {counts}")
    sums, own = _kernel_sums(points, owner, counts, median)
    cohorts = len(points)
    value, error = (np.zeros((len(BANDWIDTHS), cohorts, cohorts)) for _ in range(2))
    starts = np.concatenate([[0], np.cumsum(counts)])
    members = [slice(starts[c], starts[c + 1]) for c in range(cohorts)]
    # For each cohort: the mean kernel within it, and what that becomes when each of its patients is left out.
    within, without = [], []
    for c, n in enumerate(counts):
        others = sums[:, members[c], c] - own[:, members[c]]
        total = others.sum(axis=1, keepdims=True)
        within.append(total / (n * (n - 1)))
        without.append((total - 2 * others) / ((n - 1) * (n - 2)))
    for c in range(cohorts):
        for d in range(c + 1, cohorts):
            n, m = counts[c], counts[d]
            across = sums[:, members[c], d], sums[:, members[d], c]
            total = across[0].sum(axis=1, keepdims=True)
            value[:, c, d] = value[:, d, c] = (within[c] + within[d] - 2 * total / (n * m))[:, 0]
            left_out = (
                without[c] - 2 * (total - across[0]) / ((n - 1) * m),
                without[d] - 2 * (total - across[1]) / (n * (m - 1)),
            )
            variance = sum((k - 1) * part.var(axis=1) for k, part in zip((n, m), left_out, strict=True))
            error[:, c, d] = error[:, d, c] = np.sqrt(variance)
    return Discrepancy(median * np.array(BANDWIDTHS), value, error)


def _kernel_sums(
    points: Sequence[np.ndarray], owner: Sequence[np.ndarray], counts: Sequence[int], median: float
) -> tuple[np.ndarray, np.ndarray]:
    """(W, U, C): a cohort's patients' mean kernels with each of all U patients, summed; and (W, U) those with itself.

    Only these sums are kept; the kernels between all points exist a block of rows at a time.
    """
    everything = torch.from_numpy(np.concatenate(points).astype(np.float32))
    everything = (everything - everything.mean(dim=0)) / median
    shifts = np.concatenate([[0], np.cumsum(counts)])
    unit = np.concatenate([of + shift for of, shift in zip(owner, shifts[:-1], strict=True)])
    per_unit = np.bincount(unit, minlength=shifts[-1])
    weight = torch.zeros(len(everything), len(points))
    first = 0
    for c, of in enumerate(owner):
        rows = slice(first, first + len(of))
        weight[rows, c] = torch.from_numpy(1 / per_unit[unit[rows]]).float()
        first += len(of)
    squares = everything.square().sum(dim=1)
    sums = np.zeros((len(BANDWIDTHS), shifts[-1], len(points)))
    own = np.zeros((len(BANDWIDTHS), shifts[-1]))
    for start in range(0, len(everything), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        distance = torch.addmm(squares[rows, None] + squares, everything[rows], everything.T, alpha=-2).clamp_min_(0)
        for w, kernel in enumerate(_kernels(distance)):
            np.add.at(sums[w], unit[rows], (kernel @ weight).double().numpy() / per_unit[unit[rows], None])
    for u, (start, end) in enumerate(_runs(unit)):
        distance = torch.cdist(everything[start:end], everything[start:end]).square()
        own[:, u] = [float(kernel.mean()) for kernel in _kernels(distance)]
    return sums, own


def _kernels(distance: torch.Tensor) -> list[torch.Tensor]:
    """Gaussian kernels of squared distances in medians, for each of BANDWIDTHS: half the width is the fourth power."""
    kernels = [torch.exp(distance * (-1 / (2 * BANDWIDTHS[-1] ** 2)))]
    for _ in BANDWIDTHS[1:]:
        kernels.append(kernels[-1].square().square_())
    return kernels[::-1]


def _runs(unit: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of equal entries."""
    edges = np.flatnonzero(np.diff(unit)) + 1
    return list(zip([0, *edges], [*edges, len(unit)], strict=True))


def _measure(cohorts: CohortPoints) -> DistanceMatrix:
    """At the median bandwidth; half and twice of it are variants. On the features themselves, not on components."""
    median = median_distance(np.concatenate(cohorts.points), cohorts.seed)
    found = maximum_mean_discrepancy(cohorts.points, cohorts.owner, median)
    half, at_median, double = found.value
    variants = {"half_bandwidth": half, "double_bandwidth": double}
    return DistanceMatrix(at_median, found.standard_error[1], variants)


DISTANCE = Distance("mmd", label="maximum mean discrepancy", measure=_measure)
