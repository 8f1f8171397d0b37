"""Axes that no outcome has touched: the directions in which patients of the same cohort differ.

Shapes: N patients, D features (a patient's mean features), K axes. Features are scaled by their deviation within
cohorts; the axes are principal axes of the covariance within cohorts, every cohort weighing the same whatever its size,
and patients have about unit variance along each. The axes of a target are made of the OTHER cohorts.

They need the moments of every cohort, not its patients: with full covariances the axes are exactly those of the pooled
patients. A D x D covariance is 9 MB at D = 1536, so `cohort_moments` keeps its leading principal axes instead, a
(rank, D) factor, and the exact variance of every feature. The factor is cut at half the number of patients: a
covariance of as many axes as patients would span the very patients.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import eigsh

from cropkt.errors import InputError

AXES = 16
"""Axes by default."""
RANK = 64
"""Principal axes that a cohort's moments keep at most: 400 kB in float32 at D = 1536."""
DENSE = 256
"""Up to this many features all axes are computed; above, Lanczos iterations find the few that are wanted."""


@dataclass(frozen=True)
class Moments:
    """Of one cohort's patients: their number, mean (D,), variance (D,), and a factor (R, D) of their covariance.

    factor.T @ factor is the covariance, exactly when R is its rank; variance is exact at any R.
    """

    cohort: str
    patients: int
    mean: np.ndarray
    variance: np.ndarray
    factor: np.ndarray


@dataclass(frozen=True)
class Axes:
    """scale: (D,) deviation of each feature within cohorts. directions: (D, K), from scaled features to axes."""

    scale: np.ndarray
    directions: np.ndarray

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the axes in float32, as files keep them: summaries on other axes do not go together."""
        numbers = (self.scale, self.directions)
        return hashlib.sha256(b"".join(part.astype(np.float32).tobytes() for part in numbers)).hexdigest()[:16]

    @property
    def to_features(self) -> np.ndarray:
        """(D, K): features @ to_features is where a patient lies on the axes, to_features @ b what b weighs."""
        return self.directions / self.scale[:, None]

    def project(self, features: np.ndarray) -> np.ndarray:
        """(N, K) where patients with `features` (N, D) lie on the axes; the origin is arbitrary."""
        return features @ self.to_features

    def centroid(self, features: np.ndarray) -> np.ndarray:
        """(D,) mean of scaled `features` (N, D), over sqrt(D): distances do not grow with the number of features."""
        return features.mean(axis=0) / self.scale / np.sqrt(len(self.scale))


def cohort_moments(code: str, features: np.ndarray, *, rank: int | None = None) -> Moments:
    """Moments of a cohort's patients, `features` (N, D) float.

    `rank` None keeps at most RANK axes and at most N / 2. Raises InputError for fewer than two patients or features
    that are not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    patients = len(features)
    if patients < 2:
        raise InputError(f"{code}: {patients} patients have no covariance; a cohort needs 2 or more")
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
        raise InputError(f"{code}: features of {len(rows)} patients are NaN or infinite, first in row {rows[0]}")
    mean = features.mean(axis=0)
    centred = (features - mean) / np.sqrt(patients - 1)
    kept = min(RANK, patients // 2) if rank is None else rank
    return Moments(code, patients, mean, np.square(centred).sum(axis=0), _leading(centred, kept))


def build_axes(moments: Sequence[Moments], axes: int = AXES) -> Axes:
    """The `axes` leading axes of these cohorts, fewer where their covariance has a lower rank.

    The sign of an axis is that of its largest entry. Raises InputError without a cohort, for cohorts of different
    widths, or where no feature varies.
    """
    widths = {len(cohort.mean) for cohort in moments}
    if len(widths) != 1:
        raise InputError(f"axes need cohorts with features of one width; got widths {sorted(widths) or 'of none'}")
    deviation = np.sqrt(np.mean([cohort.variance for cohort in moments], axis=0))
    if not deviation.any():
        raise InputError("no feature varies within any cohort; there are no axes to find")
    scale = np.where(deviation > 0, deviation, np.inf)  # a constant feature counts for nothing, anywhere
    rows = np.vstack([cohort.factor for cohort in moments]) / scale / np.sqrt(len(moments))
    values, vectors = _principal(rows, min(axes, *rows.shape))
    kept = values > 1e-9 * values[0]
    values, vectors = values[kept], vectors[:, kept]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(len(values))])
    return Axes(scale, vectors * signs / np.sqrt(values))


def _leading(centred: np.ndarray, rank: int) -> np.ndarray:
    """(R, D) factor of `centred`'s covariance along its leading axes; deviations below rounding are none."""
    _, singular, right = np.linalg.svd(centred, full_matrices=False)
    kept = min(rank, int((singular > 1e-12 * max(singular[0], 1e-300)).sum()))
    return singular[:kept, None] * right[:kept]


def _principal(rows: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """The `axes` largest eigenvalues of rows.T @ rows, falling, and their vectors (D, axes)."""
    covariance = rows.T @ rows
    if len(covariance) <= max(DENSE, 4 * axes):
        values, vectors = np.linalg.eigh(covariance)
    else:
        values, vectors = eigsh(covariance, k=axes, v0=np.ones(len(covariance)))
    order = np.argsort(-values)[:axes]
    return values[order], vectors[:, order]
