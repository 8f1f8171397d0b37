"""Means, covariances and quantiles of a cohort's points, with and without each part of its patients."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cropkt.seeds import generator

PARTS = 10
"""Groups of patients that are left out in turn."""
BASES = 8
"""Orthonormal bases whose axes are the directions of the quantiles."""
QUANTILES = 200


@dataclass(frozen=True)
class Moments:
    """Of a cohort, and of it without each part: mean (1 + PARTS, k), covariance and its root (1 + PARTS, k, k), and
    quantiles along all directions (1 + PARTS, directions x QUANTILES)."""

    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray
    quantiles: np.ndarray


def moments_of(points: Sequence[np.ndarray], part: Sequence[np.ndarray], seed: int) -> list[Moments]:
    """Of each cohort's points (n, k), whose patients are in one of PARTS groups each, `part` (n,)."""
    directions = _directions(points[0].shape[1], seed)
    return [_moments(of, groups, directions) for of, groups in zip(points, part, strict=True)]


def _directions(width: int, seed: int) -> np.ndarray:
    """(width, BASES x width) unit vectors. Whole bases give the mean squared projection of a shift without error."""
    random = generator(seed, "factors", "directions")
    return np.concatenate([np.linalg.qr(random.standard_normal((width, width)))[0] for _ in range(BASES)], axis=1)


def _moments(points: np.ndarray, part: np.ndarray, directions: np.ndarray) -> Moments:
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
    return Moments(np.array(means), np.array(covariances), roots, np.array(quantiles))


def _quantiles(ordered: np.ndarray) -> np.ndarray:
    """(R, QUANTILES) quantiles of ordered rows (R, n); value i stands for level (i + 1/2) / n, as Hazen has it."""
    count = ordered.shape[1]
    place = ((np.arange(QUANTILES) + 0.5) / QUANTILES * count - 0.5).clip(0, count - 1)
    below = np.minimum(place.astype(int), max(count - 2, 0))
    share = (place - below).astype(np.float32)
    return ordered[:, below] * (1 - share) + ordered[:, np.minimum(below + 1, count - 1)] * share
