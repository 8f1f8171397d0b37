"""A mixed model for a transfer matrix: fixed factors, crossed random effects of source and target, and known errors.

C-index of source s on target t = X beta + source_s + target_t + pair_st + error_st. The first three of the random parts
have variances to be estimated (restricted maximum likelihood); the errors' covariance is known from the patients.
Within a target, cells err together: what they share on average goes with the target's effect, and coefficients are
fitted as if the rest were independent from cell to cell, so a target with few events weighs little. It is not
independent, as sources that are alike err alike; standard errors take the covariance as it is (a sandwich).
statsmodels' MixedLM fits crossed effects but takes no known errors; without them the two agree. Matrices are inverted
through the source and target effects (Woodbury), so a fit of 650 cells takes milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import t as student_t

START = (0.2, 0.2, 0.2)
"""Shares of the outcome's variance at which the search for the three variances starts."""


@dataclass(frozen=True)
class MixedFit:
    """coefficient, standard_error, p_value: (p,), of the columns of X; p-values are Student's t with `degrees` (p,).

    variance: of source, target and pair. source_effect, target_effect: predicted random effects (BLUP), in index order,
    and the standard error of each, source_error and target_error, given the variances and coefficients.
    fitted: (n,) fixed part and random effects of source and target.
    """

    coefficient: np.ndarray
    standard_error: np.ndarray
    p_value: np.ndarray
    degrees: np.ndarray
    variance: dict[str, float]
    source_effect: np.ndarray
    target_effect: np.ndarray
    source_error: np.ndarray
    target_error: np.ndarray
    fitted: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (p,) of the coefficients' intervals, of the same distribution as the p-values."""
        reach = student_t.ppf(0.5 + level / 2, self.degrees) * self.standard_error
        return self.coefficient - reach, self.coefficient + reach


def fit_mixed(
    outcome: np.ndarray,
    design: np.ndarray,
    source_of: np.ndarray,
    target_of: np.ndarray,
    errors: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    *,
    levels: Sequence[str] = (),
) -> MixedFit:
    """Fit outcome (n,) with design (n, p), its first column ones; source_of and target_of (n,) are indices from 0.

    errors: the outcomes of a target, which, (k,), and their errors' covariance, (k, k), for each target; outcomes in no
    block have no error. levels: of each further column, "pair", "source" or
    "target"; it says how many independent units the column's effect rests on, and so its degrees of freedom.
    """
    counts = int(source_of.max()) + 1, int(target_of.max()) + 1
    scale = max(float(outcome.var()), 1e-12)
    cells = _Cells(outcome, design, source_of, target_of, errors, counts)
    best = minimize(lambda x: cells.loss(x * scale)[0], START, method="L-BFGS-B", bounds=[(0, 10), (0, 10), (1e-8, 10)])
    variances = best.x * scale
    _, coefficient, bread, effects = cells.loss(variances)
    covariance = bread @ (np.linalg.pinv(bread) + cells.beyond_independence(variances, errors)) @ bread
    standard_error = np.sqrt(np.maximum(np.diag(covariance), 0.01 * np.diag(bread)))
    used = {"source": counts[0], "target": counts[1], "pair": len(outcome) - sum(counts) + 1}
    named = ["pair", *levels]
    degrees = np.array([max(used[level] - 1 - named.count(level), 1) for level in named])
    split = counts[0]
    effect_error = cells.effect_errors(variances)
    return MixedFit(
        coefficient,
        standard_error,
        2 * student_t.sf(np.abs(coefficient / standard_error), degrees),
        degrees,
        dict(zip(("source", "target", "pair"), map(float, variances), strict=True)),
        effects[:split],
        effects[split:],
        effect_error[:split],
        effect_error[split:],
        design @ coefficient + effects[:split][source_of] + effects[split:][target_of],
    )


class _Cells:
    """The cells of a matrix, arranged for one evaluation of the restricted likelihood after the other."""

    def __init__(
        self,
        outcome: np.ndarray,
        design: np.ndarray,
        source_of: np.ndarray,
        target_of: np.ndarray,
        errors: Sequence[tuple[np.ndarray, np.ndarray]],
        counts: tuple[int, int],
    ) -> None:
        self.all = np.column_stack([design, outcome])
        self.member = np.zeros((len(outcome), sum(counts)))
        self.member[np.arange(len(outcome)), source_of] = 1
        self.member[np.arange(len(outcome)), counts[0] + target_of] = 1
        self.error_variance = np.zeros(len(outcome))
        for rows, covariance in errors:
            self.error_variance[rows] = own_variance(covariance)
        self.counts = counts

    def loss(self, variances: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """-2 log restricted likelihood (up to a constant), coefficients, their covariance, and random effects."""
        spread, weighted, inner = self._inner(variances)
        diagonal = self.error_variance + variances[2]
        half = spread[:, None] * (weighted.T @ self.all)
        factor = np.linalg.cholesky(inner)
        half = np.linalg.solve(factor, half)
        product = self.all.T @ (self.all / diagonal[:, None]) - half.T @ half
        normal, cross, square = product[:-1, :-1], product[:-1, -1], product[-1, -1]
        covariance = np.linalg.pinv(normal, hermitian=True)
        coefficient = covariance @ cross
        residual = square - cross @ coefficient
        determinants = np.log(diagonal).sum() + 2 * np.log(np.diag(factor)).sum() + np.linalg.slogdet(normal)[1]
        left = half @ np.append(-coefficient, 1.0)
        effects = spread * np.linalg.solve(factor.T, left)
        return float(determinants + residual), coefficient, covariance, effects

    def effect_errors(self, variances: np.ndarray) -> np.ndarray:
        """(sources + targets,) standard errors of the random effects, as the variances and coefficients are."""
        spread, _, inner = self._inner(variances)
        return spread * np.sqrt(np.diag(np.linalg.inv(inner)))

    def _inner(self, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standard deviations of the effects (E,), cells' memberships by their precision (n, E), the middle (E, E)."""
        spread = np.sqrt(np.repeat(variances[:2], self.counts))
        weighted = self.member / (self.error_variance + variances[2])[:, None]
        return spread, weighted, np.eye(len(spread)) + spread[:, None] * (self.member.T @ weighted) * spread

    def beyond_independence(self, variances: np.ndarray, errors: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """(p, p) what the errors' true covariance adds to the middle of the sandwich."""
        spread, weighted, inner = self._inner(variances)
        design = self.all[:, :-1]
        back = np.linalg.solve(inner, spread[:, None] * (weighted.T @ design))
        inverse = design / (self.error_variance + variances[2])[:, None] - weighted @ (spread[:, None] * back)
        added = np.zeros((design.shape[1],) * 2)
        for rows, covariance in errors:
            own = own_variance(covariance)
            shared = max(float(np.trace(covariance)) / len(rows) - own, 0.0)
            rest = covariance - shared - own * np.eye(len(rows))
            added += inverse[rows].T @ rest @ inverse[rows]
        return added


def own_variance(covariance: np.ndarray) -> float:
    """Error variance of a cell beyond what a target's cells (k, k) share on average; never quite 0."""
    count = len(covariance)
    variance = float(np.trace(covariance)) / count
    shared = (float(covariance.sum()) - variance * count) / (count * (count - 1)) if count > 1 else 0.0
    return max(variance - max(shared, 0.0), 1e-6)
