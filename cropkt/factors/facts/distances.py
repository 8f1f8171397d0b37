"""Distances between cohorts' feature distributions that are made of moments and quantiles, and two-sample accuracy.

Frechet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2) (Dowson and Landau 1982), CORAL
|C1 - C2|^2 / (4 k^2) (Sun and Saenko 2016) and sliced Wasserstein-2, squared (Bonneel et al. 2015), on the k leading
principal components of all cohorts together, each cohort counted equally. Plugged into formulas, moments of few
patients make all three too large; a jackknife that leaves out a tenth of a cohort's patients at a time takes the
leading part of this bias away and gives the standard error. So a value may be below 0 where two cohorts are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf

from cropkt.seeds import generator

PARTS = 10
"""Groups of patients that the jackknife leaves out in turn."""
FOLDS = 5
BASES = 8
"""Orthonormal bases whose axes are the directions of the sliced Wasserstein distance."""
QUANTILES = 200


@dataclass(frozen=True)
class Distance:
    """A distance between all pairs of C cohorts: value and standard_error (C, C), 0 on the diagonal."""

    value: np.ndarray
    standard_error: np.ndarray


@dataclass(frozen=True)
class Axes:
    """Principal components: mean (D,), axes (D, k), and the share of the variance they hold."""

    mean: np.ndarray
    axes: np.ndarray
    share: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, D) to (n, k) float64."""
        return (points.astype(np.float64) - self.mean) @ self.axes


@dataclass(frozen=True)
class _Moments:
    """Of a cohort, and of it without each part: mean (1 + PARTS, k), covariance and its root (1 + PARTS, k, k), and
    quantiles along all directions (1 + PARTS, directions x QUANTILES)."""

    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray
    quantiles: np.ndarray


def shared_axes(points: Sequence[np.ndarray], components: int) -> Axes:
    """The leading `components` principal components of cohorts' points (n, D), every cohort weighing the same."""
    mean = np.mean([of.mean(axis=0, dtype=np.float64) for of in points], axis=0)
    width = len(mean)
    second = np.zeros((width, width))
    for of in points:
        centred = (of - mean).astype(np.float32)
        second += (centred.T @ centred) / (len(of) * len(points))
    values, vectors = np.linalg.eigh(second)
    kept = slice(width - min(components, width), None)
    return Axes(mean, vectors[:, kept][:, ::-1].copy(), float(values[kept].sum() / values.sum()))


def moment_distances(points: Sequence[np.ndarray], owner: Sequence[np.ndarray], seed: int) -> dict[str, Distance]:
    """`frechet`, `coral` and `sliced_wasserstein` between all pairs of C cohorts.

    points: (n, k) of each cohort on shared axes; owner: the patient, 0, 1, ..., of each point.
    """
    width = points[0].shape[1]
    directions = _directions(width, seed)
    moments = [_moments(of, who, directions, seed) for of, who in zip(points, owner, strict=True)]
    names = ("frechet", "coral", "sliced_wasserstein")
    value, error = ({name: np.zeros((len(points), len(points))) for name in names} for _ in range(2))
    for c in range(len(points)):
        for d in range(c + 1, len(points)):
            one, other = moments[c], moments[d]
            # Row 0 is the full comparison; then each part of c is left out, then each part of d.
            left = np.concatenate([np.arange(1 + PARTS), np.zeros(PARTS, dtype=int)])
            right = np.concatenate([np.zeros(1 + PARTS, dtype=int), np.arange(1, 1 + PARTS)])
            for name, values in _plugged_in(one, other, left, right, width).items():
                value[name][c, d], error[name][c, d] = _jackknife(values)
                value[name][d, c], error[name][d, c] = value[name][c, d], error[name][c, d]
    return {name: Distance(value[name], error[name]) for name in names}


def two_sample_accuracy(points: Sequence[np.ndarray], owner: Sequence[np.ndarray], seed: int) -> Distance:
    """Accuracy of a linear classifier that tells two cohorts' points apart, in patients it has not seen; 0.5 is chance.

    Linear discriminants with shrunk covariance (Ledoit and Wolf), five folds of patients; a cohort's accuracy is the
    mean over its patients of the share of their points put right, and the two cohorts count equally. The error allows
    for folds that share most of their training patients (Nadeau and Bengio, Machine Learning 2003). The diagonal is
    0.5.
    """
    cohorts = len(points)
    folds = [_parts(int(of.max()) + 1, FOLDS, seed)[of] for of in owner]
    # Means and covariances of each cohort without each fold, which all of its pairs share.
    means = np.array(
        [[of[fold != f].mean(axis=0) for f in range(FOLDS)] for of, fold in zip(points, folds, strict=True)]
    )
    shrunk = np.array(
        [[ledoit_wolf(of[fold != f])[0] for f in range(FOLDS)] for of, fold in zip(points, folds, strict=True)]
    )
    value, error = np.full((cohorts, cohorts), 0.5), np.zeros((cohorts, cohorts))
    for c in range(cohorts):
        for d in range(c + 1, cohorts):
            normal = np.linalg.solve((shrunk[c] + shrunk[d]) / 2, (means[c] - means[d])[..., None])[..., 0]
            middle = ((means[c] + means[d]) / 2 * normal).sum(axis=1)
            by_patient = []
            for which, sign in ((c, 1), (d, -1)):
                fold = folds[which]
                right = sign * ((points[which] * normal[fold]).sum(axis=1) - middle[fold]) > 0
                by_patient.append(np.bincount(owner[which], right) / np.bincount(owner[which]))
            value[c, d] = value[d, c] = np.mean([part.mean() for part in by_patient])
            variance = sum(part.var(ddof=1) / len(part) for part in by_patient) / 4 * (1 + FOLDS / (FOLDS - 1))
            error[c, d] = error[d, c] = np.sqrt(variance)
    return Distance(value, error)


def _directions(width: int, seed: int) -> np.ndarray:
    """(width, BASES x width) unit vectors. Whole bases give the mean squared projection of a shift without error."""
    random = generator(seed, "factors", "directions")
    return np.concatenate([np.linalg.qr(random.standard_normal((width, width)))[0] for _ in range(BASES)], axis=1)


def _parts(patients: int, parts: int, seed: int) -> np.ndarray:
    """(patients,) which of `parts` groups of equal size each patient is in."""
    return generator(seed, "factors", "parts", patients, parts).permutation(np.arange(patients) % parts)


def _moments(points: np.ndarray, owner: np.ndarray, directions: np.ndarray, seed: int) -> _Moments:
    part = _parts(int(owner.max()) + 1, PARTS, seed)[owner]
    along = (directions.T @ points.T).astype(np.float32)
    order = np.argsort(along, axis=1)
    # Sorted once: leaving patients out keeps the order.
    along, part_along = np.take_along_axis(along, order, axis=1), part[order]
    means, covariances, quantiles = [], [], []
    for left_out in (-1, *range(PARTS)):
        kept = part != left_out
        means.append(points[kept].mean(axis=0))
        covariances.append(np.cov(points[kept], rowvar=False).reshape(2 * (points.shape[1],)))
        quantiles.append(_quantiles(along[part_along != left_out].reshape(len(along), -1)).ravel())
    values, vectors = np.linalg.eigh(np.array(covariances))
    roots = vectors * np.sqrt(values.clip(0))[:, None, :]
    return _Moments(np.array(means), np.array(covariances), roots, np.array(quantiles))


def _quantiles(ordered: np.ndarray) -> np.ndarray:
    """(R, QUANTILES) quantiles of ordered rows (R, n); value i stands for level (i + 1/2) / n, as Hazen has it."""
    count = ordered.shape[1]
    place = ((np.arange(QUANTILES) + 0.5) / QUANTILES * count - 0.5).clip(0, count - 1)
    below = np.minimum(place.astype(int), max(count - 2, 0))
    share = (place - below).astype(np.float32)
    return ordered[:, below] * (1 - share) + ordered[:, np.minimum(below + 1, count - 1)] * share


def _plugged_in(
    one: _Moments, other: _Moments, left: np.ndarray, right: np.ndarray, width: int
) -> dict[str, np.ndarray]:
    shift = np.square(one.mean[left] - other.mean[right]).sum(axis=1)
    traces = [np.trace(of.covariance, axis1=1, axis2=2) for of in (one, other)]
    # With C = R R', the trace of (C1^1/2 C2 C1^1/2)^1/2 is the sum of the singular values of R1' R2.
    overlap = np.linalg.svd(one.root[left].transpose(0, 2, 1) @ other.root[right], compute_uv=False).sum(axis=1)
    difference = one.covariance[left] - other.covariance[right]
    return {
        "frechet": shift + traces[0][left] + traces[1][right] - 2 * overlap,
        "coral": np.square(difference).sum(axis=(1, 2)) / (4 * width**2),
        "sliced_wasserstein": np.square(one.quantiles[left] - other.quantiles[right]).mean(axis=1),
    }


def _jackknife(values: np.ndarray) -> tuple[float, float]:
    """Bias-corrected value and standard error from the full value and those without each part of either sample."""
    full, parts = values[0], (values[1 : 1 + PARTS], values[1 + PARTS :])
    corrected = full - (PARTS - 1) * sum(part.mean() - full for part in parts)
    return float(corrected), float(np.sqrt(sum((PARTS - 1) * part.var() for part in parts)))
