"""LogME for survival: how likely a target's outcomes are under a linear model on a source's bag vectors.

The evidence of Bayesian linear regression, maximised over its two precisions (You et al., ICML 2021), for each
patient's pseudo-observation of restricted mean survival in place of a class or a number: that is what makes the score
fit censored times. Higher is better. It reads the target's outcomes, so it is taken on training patients only.
"""

import numpy as np
from scipy.optimize import minimize_scalar

REACH = 12
"""Powers of e to either side of equal signal and noise among which the best ratio is searched."""


def log_evidence(vectors: np.ndarray, outcome: np.ndarray) -> float:
    """Maximum log evidence by patient of outcome (N,), standardised, given vectors (N, E), centred. NaN if constant."""
    vectors = np.asarray(vectors, dtype=np.float64)
    vectors = vectors - vectors.mean(axis=0)
    outcome = np.asarray(outcome, dtype=np.float64)
    scale = outcome.std()
    if len(outcome) < 3 or scale == 0 or not np.isfinite(vectors).all():
        return float("nan")
    y = (outcome - outcome.mean()) / scale
    gram = vectors @ vectors.T
    values, basis = np.linalg.eigh(gram)
    kept = values > values.max() * 1e-10
    if not kept.any():
        return float("nan")
    return _maximise(values[kept], np.square(basis[:, kept].T @ y), float(y @ y), len(y) - 1)


def _maximise(values: np.ndarray, squares: np.ndarray, total: float, n: int) -> float:
    """Evidence a patient, from the eigenvalues of the Gram matrix and the squared outcome along each of its axes.

    `n` is one less than the patients: vectors and outcome are centred, and the direction lost to that would otherwise
    reward a noise of nothing.

    For a given ratio of signal to noise the best noise is known, so one number is left to search for. (The published
    fixed-point iteration creeps where there are more numbers in a vector than patients.)
    """
    outside = max(total - squares.sum(), 0.0)

    def lost(log_ratio: float) -> float:
        inflation = 1 + values * np.exp(log_ratio)
        noise = ((squares / inflation).sum() + outside) / n
        return float(n * np.log(2 * np.pi * noise) + n + np.log(inflation).sum()) / (2 * n)

    centre = -np.log(values.mean())
    grid = centre + np.linspace(-REACH, REACH, 2 * REACH + 1)
    best = int(np.argmin([lost(at) for at in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return -float(minimize_scalar(lost, bounds=bounds, method="bounded").fun)
