"""The target's own outcomes under what the other cohorts say, and under nothing but the target's own scale.

log-risk = coefficients on the K axes + a part of the target's own on all features, for what the axes miss. Hypotheses:
- borrow or stand alone: the axes' coefficients are N(m, V), the conditional prior of the other cohorts, or N(0, v S), v
  the variance of a coefficient when nothing is known;
- own spread, one of OWN_SPREADS: the standard deviation that the own part may give to a patient's log-risk.
Each combination gets its mode under the exact partial likelihood of the training patients, and its Laplace evidence;
the answer is their average, weighted by prior probability times evidence. The weight of all that borrow is the
probability that borrowing helps here. A cohort that runs the other way is heard through its own outcomes, and so is
one whose outcome hangs on something that hardly varies elsewhere. Without events the likelihood is 1 everywhere, and
the answer is the prior alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from cropkt.borrowing.axes import Axes
from cropkt.borrowing.prior import CohortModel
from cropkt.survival.cox import GaussianMode, gaussian_mode, partial_likelihood

PRIOR_PROBABILITY = 0.9
"""That borrowing helps, before the target's outcomes are seen."""
OWN_SPREADS = {0.0: 0.5, 0.3: 0.25, 1.0: 0.25}
"""Standard deviations of log-risk that the target's own part may have, and their prior probabilities."""
OWN_DIRECTIONS = 64
"""The own part lives on this many principal axes of the training patients: cost does not grow with patients."""


@dataclass(frozen=True)
class TargetFit:
    """Log-risk of a patient = features @ coefficients, up to a constant; higher is worse. Coefficients are (D,).

    averaged: what to use. borrowed, alone: averages over the own spread under either hypothesis. prior: without any
    outcome of the target. probability: that borrowing helps here. own_spread: mean of the own spread.
    contributions: (C, D), what each lender brings to `prior`; they sum to it. signal: how much the others foretell, the
    standard deviation of the training patients' log-risks by `prior`; 0 where slides tell others nothing.
    """

    averaged: np.ndarray
    borrowed: np.ndarray
    alone: np.ndarray
    prior: np.ndarray
    probability: float
    own_spread: float
    contributions: np.ndarray
    signal: float


@dataclass(frozen=True)
class _Hypothesis:
    borrows: bool
    own_spread: float
    log_prior: float
    mode: GaussianMode

    @property
    def log_weight(self) -> float:
        return self.log_prior + self.mode.log_evidence


def fit_target(
    model: CohortModel,
    axes: Axes,
    features: np.ndarray,
    time: np.ndarray,
    event: np.ndarray,
    *,
    prior_probability: float = PRIOR_PROBABILITY,
) -> TargetFit:
    """Coefficients of a target from its training patients, `features` (N, D), `time` (N,), `event` (N,) 0/1.

    Without outcomes, give events of 0. `prior_probability` near 1 borrows, near 0 does not. Raises ValueError unless
    it lies between 0 and 1.
    """
    if not 0 < prior_probability < 1:
        raise ValueError(f"prior_probability is {prior_probability}; it must lie between 0 and 1")
    own = _own_directions(features)
    prior = model.prior(axes.centroid(features))
    to_features = np.hstack([axes.to_features, own])
    likelihood = partial_likelihood(features @ to_features, time, event)
    size = len(prior.mean)
    unknown = model.hyperparameters.variance * model.hyperparameters.axis_variances(size)
    starts = {
        True: (prior.mean, prior.covariance, prior_probability),
        False: (np.zeros(size), np.diag(unknown), 1 - prior_probability),
    }
    found = []
    for borrows, (mean, covariance, probability) in starts.items():
        for spread, share in OWN_SPREADS.items():
            mode = gaussian_mode(likelihood, *_with_own(mean, covariance, own.shape[1], spread))
            found.append(_Hypothesis(borrows, spread, float(np.log(probability * share)), mode))
    weight = _weights(found)
    foretold = axes.to_features @ prior.mean
    return TargetFit(
        averaged=to_features @ _average(found),
        borrowed=to_features @ _average([one for one in found if one.borrows]),
        alone=to_features @ _average([one for one in found if not one.borrows]),
        prior=foretold,
        probability=float(sum(w for w, one in zip(weight, found, strict=True) if one.borrows)),
        own_spread=float(sum(w * one.own_spread for w, one in zip(weight, found, strict=True))),
        contributions=prior.contributions @ axes.to_features.T,
        signal=float((features @ foretold).std()),
    )


def _own_directions(features: np.ndarray) -> np.ndarray:
    """(D, R) from features to principal axes of the training patients, in deviations of their own, over sqrt(D).

    Unit coefficients that are independent then give a patient's log-risk a variance of about 1.
    """
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    varies = deviation > 1e-9 * (1 + np.abs(features.mean(axis=0)))
    scale = np.where(varies, deviation, np.inf)
    _, _, right = np.linalg.svd(centred / scale, full_matrices=False)
    return (right[:OWN_DIRECTIONS] / scale).T / np.sqrt(max(1, int(varies.sum())))


def _with_own(mean: np.ndarray, covariance: np.ndarray, own: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """The prior of the axes' coefficients and, independent of them, the own part's."""
    joint = np.zeros((len(mean) + own, len(mean) + own))
    joint[: len(mean), : len(mean)] = covariance
    joint[len(mean) :, len(mean) :] = spread**2 * np.eye(own)
    return np.append(mean, np.zeros(own)), joint


def _weights(hypotheses: list[_Hypothesis]) -> np.ndarray:
    logs = np.array([one.log_weight for one in hypotheses])
    return np.asarray(np.exp(logs - logsumexp(logs)))


def _average(hypotheses: list[_Hypothesis]) -> np.ndarray:
    modes = np.stack([one.mode.coefficients for one in hypotheses])
    return np.asarray(_weights(hypotheses) @ modes)
