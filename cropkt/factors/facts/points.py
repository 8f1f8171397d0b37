"""The points (patches, or patients' means) of all cohorts that distances are measured between."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cropkt.factors.facts.moments import PARTS, Moments, moments_of
from cropkt.seeds import generator


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
class CohortPoints:
    """Points of C cohorts: points (n, D) of each, and owner (n,), the patient, 0, 1, ..., of each point.

    components: how many shared principal components `projected` has.
    """

    points: tuple[np.ndarray, ...]
    owner: tuple[np.ndarray, ...]
    seed: int
    components: int

    @cached_property
    def projected(self) -> list[np.ndarray]:
        """(n, k) of each cohort, on the principal components of all cohorts together."""
        axes = shared_axes(self.points, self.components)
        return [axes.project(of) for of in self.points]

    @cached_property
    def moments(self) -> list[Moments]:
        """Of each cohort's projected points."""
        return moments_of(self.projected, self.parts(PARTS), self.seed)

    def parts(self, n_parts: int) -> list[np.ndarray]:
        """(n,) of each cohort: which of `n_parts` groups of patients, of equal size, each point is in."""
        return [_parts(int(of.max()) + 1, n_parts, self.seed)[of] for of in self.owner]


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


def _parts(n_patients: int, n_parts: int, seed: int) -> np.ndarray:
    """(patients,) which of `n_parts` groups of equal size each patient is in."""
    return generator(seed, "factors", "parts", n_patients, n_parts).permutation(np.arange(n_patients) % n_parts)
