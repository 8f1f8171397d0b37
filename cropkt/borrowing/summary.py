"""What a cohort leaves behind for others to borrow from: a Gaussian picture of its Cox likelihood, on given axes.

Around the coefficients b_c that fit the cohort under a weak prior, its log partial likelihood is close to
r'b - b'H b / 2 with H the information there and r = H b_c + gradient (Laplace). H, r, the centroid and two counts are
all that a prior for other cohorts needs: no patient, no time, no outcome of anyone.
"""

from dataclasses import dataclass

import numpy as np

from cropkt.borrowing.axes import Axes
from cropkt.survival.cox import GaussianMode, gaussian_mode, partial_likelihood

SPREADS = (0.25, 0.5, 1.0, 2.0)
"""Standard deviations of log-risk, before outcomes are seen, under which a cohort's own fit is tried."""


@dataclass(frozen=True)
class Summary:
    """information: (K, K) H. linear: (K,) r. centroid: (D,) of `Axes.centroid`. axes: fingerprint of the axes."""

    cohort: str
    patients: int
    events: int
    information: np.ndarray
    linear: np.ndarray
    centroid: np.ndarray
    axes: str


def summarise(code: str, features: np.ndarray, time: np.ndarray, event: np.ndarray, axes: Axes) -> Summary:
    """Summary of a cohort's patients, `features` (N, D). Without events H and r are 0: it then tells nothing.

    b_c is the mode under N(0, s I), s the one of SPREADS with the highest Laplace evidence.
    """
    likelihood = partial_likelihood(axes.project(features), time, event)
    size = axes.directions.shape[1]

    def under(spread: float) -> GaussianMode:
        return gaussian_mode(likelihood, np.zeros(size), spread**2 / size * np.eye(size))

    mode = max((under(spread) for spread in SPREADS), key=lambda mode: mode.log_evidence)
    gradient, information = likelihood.derivatives(mode.coefficients)
    linear = information @ mode.coefficients + gradient
    centroid = axes.centroid(features)
    return Summary(code, len(features), likelihood.events, information, linear, centroid, axes.fingerprint)
