"""The target's own outcomes under what the others say, and under nothing but its own scale.

Two hypotheses about the target's coefficients b:
- it borrows: b ~ N(m, V), the conditional prior of the other cohorts;
- it stands alone: b ~ N(0, v S), v the variance a coefficient has before anything is known.
Each gets its mode under the target's exact partial likelihood and its Laplace evidence of the training patients. The
answer is their average, weighted by prior probability times evidence; the weight of the first is the probability that
borrowing helps here. A target whose cohort runs the other way is so heard by its own outcomes. Without outcomes the
likelihood is 1 everywhere, and the answer is the prior alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from cropkt.borrowing.prior import CohortModel
from cropkt.survival.cox import GaussianMode, PartialLikelihood, gaussian_mode

PRIOR_PROBABILITY = 0.9
"""That borrowing helps, before the target's outcomes are seen."""


@dataclass(frozen=True)
class TargetFit:
    """Coefficients (K,) on the axes; log-risk of a patient = projection @ coefficients, higher is worse.

    averaged: what to use. borrowed, alone: under either hypothesis. prior: without any outcome of the target.
    probability: that borrowing helps here. covariance: (K, K) of `averaged`, between and within the hypotheses.
    contributions: (C, K) what every other cohort brings to `prior`.
    """

    averaged: np.ndarray
    borrowed: np.ndarray
    alone: np.ndarray
    prior: np.ndarray
    probability: float
    covariance: np.ndarray
    contributions: np.ndarray


def fit_target(
    model: CohortModel,
    centroid: np.ndarray,
    likelihood: PartialLikelihood,
    *,
    prior_probability: float = PRIOR_PROBABILITY,
) -> TargetFit:
    """The target's coefficients, from the `centroid` (D,) and the partial `likelihood` of its training patients.

    A `prior_probability` of 1 always borrows, one of 0 never. Raises ValueError outside of 0 to 1.
    """
    if not 0 <= prior_probability <= 1:
        raise ValueError(f"prior_probability is {prior_probability}; it must be between 0 and 1")
    prior = model.prior(centroid)
    hyper = model.hyperparameters
    scale = hyper.variance * hyper.axis_variances(likelihood.covariates)
    borrowed = gaussian_mode(likelihood, prior.mean, prior.covariance)
    alone = gaussian_mode(likelihood, np.zeros(likelihood.covariates), np.diag(scale))
    probability = float(expit(logit(prior_probability) + borrowed.log_evidence - alone.log_evidence))
    averaged = probability * borrowed.coefficients + (1 - probability) * alone.coefficients
    return TargetFit(
        averaged,
        borrowed.coefficients,
        alone.coefficients,
        prior.mean,
        probability,
        _mixed(probability, borrowed, alone),
        prior.contributions,
    )


def _mixed(probability: float, borrowed: GaussianMode, alone: GaussianMode) -> np.ndarray:
    apart = borrowed.coefficients - alone.coefficients
    within = probability * borrowed.covariance + (1 - probability) * alone.covariance
    return within + probability * (1 - probability) * np.outer(apart, apart)
