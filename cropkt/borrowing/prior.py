"""What the other cohorts say about a target's coefficients, before any of its outcomes is seen.

The coefficients of C cohorts on K axes are one Gaussian vector, cov(b_ci, b_dj) = Kc[c, d] S[i, j]:
- Kc = shared + near exp(-d^2 / 2 reach^2) + own I: a part that all cohorts have in common, a part shared by cohorts
  whose centroids lie close (distance d), a part of each one's own;
- S = diag(k^-decay), k = 1 .. K: later axes vary less and tell less.
The five numbers maximise the marginal likelihood of the other cohorts' summaries, each a Gaussian in b_c, so the
integral over all coefficients is exact. No inner cross-validation: a handful of events is enough to be used well.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from cropkt.borrowing.summary import Summary
from cropkt.errors import InputError


@dataclass(frozen=True)
class Hyperparameters:
    """Variances `shared`, `near` and `own` of a coefficient on axis 1; `reach` in the unit of centroids; `decay`."""

    shared: float
    near: float
    reach: float
    own: float
    decay: float

    @property
    def variance(self) -> float:
        """Of one cohort's coefficient on axis 1, when nothing is known."""
        return self.shared + self.near + self.own

    def axis_variances(self, axes: int) -> np.ndarray:
        """(K,) diagonal of S."""
        return np.arange(1, axes + 1) ** -self.decay


@dataclass(frozen=True)
class ConditionalPrior:
    """The target's coefficients given the other cohorts: N(mean (K,), covariance (K, K)).

    contributions: (C, K), the part of the mean that each other cohort's own estimate brings; they sum to the mean.
    """

    mean: np.ndarray
    covariance: np.ndarray
    contributions: np.ndarray


@dataclass(frozen=True)
class CohortModel:
    """The hierarchical model fitted to `summaries`, the other cohorts; it gives the prior of any target."""

    summaries: tuple[Summary, ...]
    hyperparameters: Hyperparameters
    pull: np.ndarray
    """(C, K): r less what the posterior mean explains of it, (I + H cov)^-1 r."""
    weight: np.ndarray
    """(C, K, C, K): (cov + H^-1)^-1, how much the summaries settle."""

    @cached_property
    def estimates(self) -> np.ndarray:
        """(C, K): each cohort's coefficients by its own summary alone, H^-1 r, and 0 where it tells nothing."""
        information = np.stack([summary.information for summary in self.summaries])
        linear = np.stack([summary.linear for summary in self.summaries])
        inverse = np.linalg.pinv(information, rcond=1e-9, hermitian=True)
        return np.asarray(np.einsum("ckl,cl->ck", inverse, linear))

    def prior(self, centroid: np.ndarray) -> ConditionalPrior:
        """The prior of a target whose training patients have this `centroid` (D,)."""
        return self._given(self._alike(centroid))

    def without(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (K,) and covariance (K, K) of cohort `number` given all the others, its own summary taken back.

        Its posterior N(u, M) given everyone is prior times likelihood; dividing by the latter leaves
        (I - M H)^-1 (u - M r) and (I - M H)^-1 M.
        """
        summary = self.summaries[number]
        alike = self._alike(summary.centroid)
        alike[number] += self.hyperparameters.own
        posterior = self._given(alike)
        kept = np.eye(len(posterior.mean)) - posterior.covariance @ summary.information
        mean = np.linalg.solve(kept, posterior.mean - posterior.covariance @ summary.linear)
        covariance = np.linalg.solve(kept, posterior.covariance)
        return mean, 0.5 * (covariance + covariance.T)

    def _alike(self, centroid: np.ndarray) -> np.ndarray:
        """(C,) covariance, on axis 1, of each cohort's coefficient with that of another cohort at `centroid`."""
        distance = cdist(centroid[None], _centroids(self.summaries))[0]
        hyper = self.hyperparameters
        return np.asarray(hyper.shared + hyper.near * np.exp(-0.5 * np.square(distance / hyper.reach)))

    def _given(self, alike: np.ndarray) -> ConditionalPrior:
        """Of coefficients that have covariance `alike` (C,) with the cohorts'."""
        scale = self.hyperparameters.axis_variances(self.pull.shape[1])
        settled = np.einsum("c,ckdl,d->kl", alike, self.weight, alike, optimize=True)
        # pull is the sum over cohorts d of weight_cd times d's own estimate: so much is d's doing.
        brought = np.einsum("c,ckdl,dl->dk", alike, self.weight, self.estimates, optimize=True)
        covariance = self.hyperparameters.variance * np.diag(scale) - scale[:, None] * settled * scale
        return ConditionalPrior(scale * (alike @ self.pull), 0.5 * (covariance + covariance.T), scale * brought)


def fit_cohort_model(summaries: Sequence[Summary], hyperparameters: Hyperparameters | None = None) -> CohortModel:
    """The hierarchical model of these cohorts; `hyperparameters` None finds them by marginal likelihood.

    Raises InputError without a summary, or for summaries that were made on different axes.
    """
    if not summaries or len({summary.axes for summary in summaries}) > 1:
        raise InputError(
            f"{len(summaries)} summaries of different axes, or none; summarise all cohorts on the same axes"
        )
    told = _Told.by(summaries)
    hyper = hyperparameters or _most_likely(told)
    _, pull, inverse = _marginal(told, hyper, _kernels(told, hyper)[0])
    weight = np.einsum("ckr,crds,dls->ckdl", told.roots, inverse, told.roots, optimize=True)
    return CohortModel(tuple(summaries), hyper, pull, weight)


def log_marginal_likelihood(summaries: Sequence[Summary], hyperparameters: Hyperparameters) -> float:
    """Log of the product of the cohorts' exp(r'b - b'H b / 2), averaged over the prior of all their coefficients."""
    told = _Told.by(summaries)
    return _marginal(told, hyperparameters, _kernels(told, hyperparameters)[0])[0]


@dataclass(frozen=True)
class _Told:
    """C summaries as arrays: linear (C, K), centroids (C, D), roots (C, K, K) with root @ root' = information."""

    linear: np.ndarray
    centroids: np.ndarray
    roots: np.ndarray

    @classmethod
    def by(cls, summaries: Sequence[Summary]) -> "_Told":
        # Information may be singular, as that of a cohort without events is: eigenvalues below 0 are rounding.
        values, vectors = np.linalg.eigh(np.stack([summary.information for summary in summaries]))
        roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        return cls(np.stack([summary.linear for summary in summaries]), _centroids(summaries), roots)


def _most_likely(told: _Told) -> Hyperparameters:
    distance = cdist(told.centroids, told.centroids)
    typical = float(np.median(distance[distance > 0])) if (distance > 0).any() else 1.0
    unit = 1.0 / told.linear.shape[1]
    low = Hyperparameters(1e-4 * unit, 1e-4 * unit, 0.1 * typical, 1e-4 * unit, 0.0)
    high = Hyperparameters(1e2 * unit, 1e2 * unit, 10 * typical, 1e2 * unit, 3.0)
    start = Hyperparameters(0.2 * unit, 0.5 * unit, 0.7 * typical, 0.2 * unit, 0.3)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _value_and_slope(told, _from_point(point))
        return -value, -slope

    bounds = list(zip(_to_point(low), _to_point(high), strict=True))
    found = minimize(objective, _to_point(start), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-7})
    return _from_point(found.x)


def _to_point(hyper: Hyperparameters) -> np.ndarray:
    return np.append(np.log(astuple(hyper)[:4]), hyper.decay)


def _from_point(point: np.ndarray) -> Hyperparameters:
    shared, near, reach, own = np.exp(point[:4]).tolist()
    return Hyperparameters(shared, near, reach, own, float(point[4]))


def _kernels(told: _Told, hyper: Hyperparameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kc (C, C), its part by distance, and squared distances over reach^2."""
    squared = cdist(told.centroids, told.centroids, "sqeuclidean") / hyper.reach**2
    near = hyper.near * np.exp(-0.5 * squared)
    return hyper.shared + near + hyper.own * np.eye(len(squared)), near, squared


def _centroids(summaries: Sequence[Summary]) -> np.ndarray:
    return np.stack([summary.centroid for summary in summaries])


def _marginal(told: _Told, hyper: Hyperparameters, kernel: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Log marginal likelihood, pull (C, K) as `CohortModel` keeps it, and (I + U' cov U)^-1 (C, K, C, K).

    U holds the roots of all H = U U' and cov = Kc x S. `CohortModel.weight` is U (I + U' cov U)^-1 U'; the inverse is
    well conditioned whatever H and cov are. It takes most of the time, so nothing else of its size is made here.
    """
    cohorts, axes = told.linear.shape
    scale = hyper.axis_variances(axes)
    scaled = (np.sqrt(scale)[:, None] * told.roots).transpose(1, 0, 2).reshape(axes, -1)
    inner = (scaled.T @ scaled).reshape(cohorts, axes, cohorts, axes)
    inner *= kernel[:, None, :, None]
    inner = inner.reshape(cohorts * axes, -1)
    inner[np.diag_indices_from(inner)] += 1
    # The transpose is the same matrix, in the order that LAPACK works on without a copy.
    factor = cholesky(inner.T, lower=True, overwrite_a=True, check_finite=False)
    log_determinant = 2 * float(np.log(np.diag(factor)).sum())
    inverse = np.asarray(dpotri(factor, lower=1, overwrite_c=1)[0])
    inverse += inverse.T  # above the diagonal it was 0
    inverse[np.diag_indices_from(inverse)] *= 0.5
    expected = kernel @ (told.linear * scale)
    settled = inverse @ np.einsum("ckr,ck->cr", told.roots, expected).ravel()
    pull = told.linear - np.einsum("ckr,cr->ck", told.roots, settled.reshape(cohorts, axes))
    value = -0.5 * log_determinant + 0.5 * float((told.linear * (kernel @ (pull * scale))).sum())
    return value, pull, inverse.T.reshape(cohorts, axes, cohorts, axes)


def _value_and_slope(told: _Told, hyper: Hyperparameters) -> tuple[float, np.ndarray]:
    """Log marginal likelihood, and its slope in log shared, log near, log reach, log own and decay."""
    kernel, near, squared = _kernels(told, hyper)
    value, pull, inverse = _marginal(told, hyper, kernel)
    # d value / d cov is (pull pull' - weight) / 2; cov depends on blocks' diagonals only, as S is diagonal.
    slope = 0.5 * (np.einsum("ck,dk->cdk", pull, pull) - _diagonals(told.roots, inverse))
    scale = hyper.axis_variances(pull.shape[1])
    by_kernel = slope @ scale
    by_scale = np.einsum("cdk,cd->k", slope, kernel)
    log_axis = np.log(np.arange(1, len(scale) + 1))
    parts = (
        hyper.shared * by_kernel.sum(),
        (near * by_kernel).sum(),
        (near * squared * by_kernel).sum(),
        hyper.own * np.trace(by_kernel),
        -(log_axis * scale * by_scale).sum(),
    )
    return value, np.array(parts)


def _diagonals(roots: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """(C, C, K) diagonals of the blocks of U inverse U'."""
    cohorts, axes = roots.shape[:2]
    halves = np.matmul(inverse.reshape(-1, cohorts, axes).transpose(1, 0, 2), roots.transpose(0, 2, 1))
    return np.einsum("ckr,dcrk->cdk", roots, halves.reshape(cohorts, cohorts, axes, axes))
