"""Cox's partial likelihood of a linear log-risk: exact value, gradient and information, Gaussian priors, ridge.

Shapes: N patients, K covariates; the log-risk of a patient is covariates @ b, higher is worse. Tied event times count
as Efron's (1977): at a time with d deaths, the l-th of them (l = 0 .. d - 1) is compared with everyone at risk, less
l/d of the d who die. A patient censored at a time is still at risk at it. With strata, patients are compared only with
those of their own stratum. Everything is float64.

One evaluation costs O(N K^2): sums over risk sets are running sums over patients sorted by falling time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real, Shaped
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve

from cropkt.seeds import generator

LOWEST = -600.0
"""Derivatives take log-risks this far below their stratum's highest as equal, so that no risk set sums to 0. The
log-likelihood itself is exact at any log-risk, so Newton's step halving still tells better from worse."""
NEWTON_STEPS = 100
HALVINGS = 40
CONVERGED = 1e-10
"""Newton stops where a step promises less log-posterior than this."""
SPREADS = tuple(np.geomspace(0.03, 3.0, 9).tolist())
"""Ridge penalties to choose from, as the standard deviation of a patient's log-risk before any outcome is seen."""
INNER_FOLDS = 5


@dataclass(frozen=True)
class _Stratum:
    """Patients by falling time, of one time those who die first; covariates (N, K) centred.

    died: (E,) rows of the E patients who die. last: (E,) last row still at risk when they do. share: (E,) Efron's l/d.
    tie: (E,) number of the event time, from 0; ties: (T,) where each time's deaths begin among the E.
    """

    covariates: np.ndarray
    died: np.ndarray
    last: np.ndarray
    share: np.ndarray
    tie: np.ndarray
    ties: np.ndarray


@dataclass(frozen=True)
class PartialLikelihood:
    """The partial likelihood of a set of patients, ready to be evaluated at any coefficients (K,)."""

    strata: tuple[_Stratum, ...]
    covariates: int
    events: int

    def value(self, coefficients: np.ndarray) -> float:
        """Log partial likelihood; 0 without events."""
        return float(sum(_value(stratum, stratum.covariates @ coefficients) for stratum in self.strata))

    def derivatives(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (K,) of the log partial likelihood and its information, the negative Hessian (K, K)."""
        gradient = np.zeros(self.covariates)
        information = np.zeros((self.covariates, self.covariates))
        for stratum in self.strata:
            slope, curvature = _derivatives(stratum, stratum.covariates @ coefficients)
            gradient += slope
            information += curvature
        return gradient, information


@dataclass(frozen=True)
class GaussianMode:
    """Where likelihood x Gaussian prior is highest, and how sure that is.

    coefficients: (K,). covariance: (K, K) of the Gaussian approximation there. information: (K, K) of the likelihood
    alone. log_evidence: Laplace's approximation of the log of the likelihood averaged over the prior.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    information: np.ndarray
    log_evidence: float


@dataclass(frozen=True)
class RidgeCox:
    """A fitted ridge Cox model: log-risk = (features - centre) / scale @ coefficients, all (D,).

    spread: the penalty that inner cross-validation chose, in the unit of SPREADS.
    """

    centre: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    spread: float

    def risk(self, features: np.ndarray) -> np.ndarray:
        """(N,) log-risk of patients with `features` (N, D)."""
        return (features - self.centre) / self.scale @ self.coefficients


def partial_likelihood(
    covariates: ArrayLike, time: ArrayLike, event: ArrayLike, strata: ArrayLike | None = None
) -> PartialLikelihood:
    """Of patients with `covariates` (N, K), `time` (N,) in any unit, `event` (N,) 0/1, and optionally `strata` (N,).

    Raises ValueError where shapes do not go together or a covariate or time is not finite.
    """
    covariates = np.asarray(covariates, dtype=np.float64)
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    stratum = np.zeros(len(time), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    if covariates.ndim != 2 or not len(covariates) == len(time) == len(event) == len(stratum):
        shapes = f"{covariates.shape}, {time.shape}, {event.shape}, {stratum.shape}"
        raise ValueError(f"covariates, time, event and strata have shapes {shapes}; need (N, K) and three times (N,)")
    if not (np.isfinite(covariates).all() and np.isfinite(time).all()):
        raise ValueError("covariates or times are NaN or infinite; impute or leave out these patients first")
    members = [stratum == number for number in np.unique(stratum)]
    with_event = [chosen for chosen in members if event[chosen].any()]
    blocks = tuple(_stratum(covariates[chosen], time[chosen], event[chosen]) for chosen in with_event)
    return PartialLikelihood(blocks, covariates.shape[1], int(event.sum()))


def gaussian_mode(
    likelihood: PartialLikelihood, mean: Float[np.ndarray, " K"], covariance: Float[np.ndarray, "K K"]
) -> GaussianMode:
    """Mode and Laplace evidence of `likelihood` under the prior N(mean (K,), covariance (K, K)), by Newton's method.

    The search runs in the prior's own units, b = mean + root @ z with z ~ N(0, I), so a prior that is singular in some
    direction is as good as any: nothing moves there. The log-posterior is concave; steps that overshoot are halved.
    Without events the mode is the mean and the evidence 1.
    """
    root = _root(covariance)
    unit = np.eye(len(mean))
    z = np.zeros(len(mean))
    best = likelihood.value(mean)
    for _ in range(NEWTON_STEPS):
        gradient, information = likelihood.derivatives(mean + root @ z)
        curvature = cho_factor(unit + root.T @ information @ root, lower=True)
        slope = root.T @ gradient - z
        step = cho_solve(curvature, slope)
        if slope @ step < CONVERGED:
            break
        size, found = _halved(lambda moved: likelihood.value(mean + root @ moved) - 0.5 * moved @ moved, z, step, best)
        if not size:
            break
        z, best = z + size * step, found
    posterior = root @ cho_solve(curvature, root.T)
    log_evidence = best - float(np.log(np.diag(curvature[0])).sum())
    return GaussianMode(mean + root @ z, posterior, information, log_evidence)


def ridge_cox(
    features: Float[np.ndarray, "N D"], time: Real[np.ndarray, " N"], event: Shaped[np.ndarray, " N"], *, seed: int
) -> RidgeCox:
    """Ridge Cox model of `features` (N, D), its penalty chosen by cross-validated partial likelihood.

    Features are scaled to unit deviation; constant ones keep coefficient 0. With a ridge penalty the coefficients lie
    in the span of the patients, so the fit takes at most N of D dimensions and is exact (Hastie & Tibshirani 2004).
    The score of a penalty is the sum over inner folds of l(b) - l_train(b), b fitted on that fold's training patients
    (Verweij & van Houwelingen 1993); the stronger penalty if equal. One event cannot be split: the strongest then.
    Raises ValueError without any event.
    """
    event = np.asarray(event).astype(bool)
    if not event.any():
        raise ValueError("no event among these patients; a Cox model needs one")
    centre, deviation = features.mean(axis=0), features.std(axis=0)
    varies = deviation > 1e-9 * (1 + np.abs(centre))
    scale = np.where(varies, deviation, 1.0)
    scaled = np.where(varies, (features - centre) / scale, 0.0)
    left, singular, right = np.linalg.svd(scaled, full_matrices=False)
    scores = left * singular
    spread = _best_spread(scores, time, event, max(1, int(varies.sum())), seed)
    mode = _ridge(scores, time, event, spread**2 / max(1, int(varies.sum())))
    return RidgeCox(centre, scale, np.where(varies, right.T @ mode, 0.0), spread)


def _best_spread(scores: np.ndarray, time: np.ndarray, event: np.ndarray, dimensions: int, seed: int) -> float:
    folds = min(INNER_FOLDS, int(event.sum()))
    if folds < 2:
        return SPREADS[0]
    random = generator(seed, "ridge cox", "inner folds")
    deck = np.concatenate([random.permutation(np.flatnonzero(event)), random.permutation(np.flatnonzero(~event))])
    place = np.empty(len(deck), dtype=np.int64)
    place[deck] = np.arange(len(deck)) % folds
    everyone = partial_likelihood(scores, time, event)
    score = np.zeros(len(SPREADS))
    for fold in range(folds):
        kept = place != fold
        of_training = partial_likelihood(scores[kept], time[kept], event[kept])
        for number, spread in enumerate(SPREADS):
            coefficients = _ridge(scores[kept], time[kept], event[kept], spread**2 / dimensions)
            score[number] += everyone.value(coefficients) - of_training.value(coefficients)
    return SPREADS[int(score.argmax())]


def _ridge(scores: np.ndarray, time: np.ndarray, event: np.ndarray, variance: float) -> np.ndarray:
    size = scores.shape[1]
    mode = gaussian_mode(partial_likelihood(scores, time, event), np.zeros(size), variance * np.eye(size))
    return mode.coefficients


def _stratum(covariates: np.ndarray, time: np.ndarray, event: np.ndarray) -> _Stratum:
    order = np.lexsort((~event, -time))
    time, event = time[order], event[order]
    died = np.flatnonzero(event)
    last = np.searchsorted(-time, -time[died], side="right") - 1
    _, ties, tie, deaths = np.unique(-time[died], return_index=True, return_inverse=True, return_counts=True)
    share = (np.arange(len(died)) - ties[tie]) / deaths[tie]
    # The likelihood only sees differences between patients; centred sums cancel least.
    return _Stratum((covariates - covariates.mean(axis=0))[order], died, last, share, tie, ties)


def _value(stratum: _Stratum, log_risk: np.ndarray) -> float:
    of_died = log_risk[stratum.died]
    at_risk = np.logaddexp.accumulate(log_risk)[stratum.last]
    dying = np.logaddexp.reduceat(of_died, stratum.ties)[stratum.tie]
    return float(np.sum(of_died - at_risk - np.log1p(-stratum.share * np.exp(dying - at_risk))))


def _derivatives(stratum: _Stratum, log_risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, share, tie = stratum.covariates, stratum.share, stratum.tie
    risk = np.exp(np.maximum(log_risk - log_risk.max(), LOWEST))
    # Column 0 sums risks over risk sets, the others risk x covariate, from the longest survivors on.
    weighted = risk[:, None] * np.column_stack([np.ones(len(rows)), rows])
    dying = np.add.reduceat(weighted[stratum.died], stratum.ties, axis=0)
    sums = weighted.cumsum(axis=0)[stratum.last] - share[:, None] * dying[tie]
    mean = sums[:, 1:] / sums[:, :1]
    inverse = 1 / sums[:, 0]
    # Every patient's expected deaths: its share in each risk set that it is in, less Efron's part in its own tie.
    expected = np.zeros(len(rows))
    np.add.at(expected, stratum.last, inverse)
    expected = expected[::-1].cumsum()[::-1].copy()
    expected[stratum.died] -= np.add.reduceat(share * inverse, stratum.ties)[tie]
    expected *= risk
    gradient = rows[stratum.died].sum(axis=0) - expected @ rows
    return gradient, (rows * expected[:, None]).T @ rows - mean.T @ mean


def _root(covariance: np.ndarray) -> np.ndarray:
    """(K, K) matrix whose product with its transpose is `covariance`, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _halved(
    objective: Callable[[np.ndarray], float], start: np.ndarray, step: np.ndarray, best: float
) -> tuple[float, float]:
    """The largest of 1, 1/2, 1/4, ... of `step` that does not lower `objective`, and its value there; 0 if none."""
    size = 1.0
    for _ in range(HALVINGS):
        found = objective(start + size * step)
        if found >= best:
            return size, found
        size /= 2
    return 0.0, best
