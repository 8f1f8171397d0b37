"""What borrowing is worth where the truth is known: the true C-index of each method's risks in a simulated study.

The true C-index is the expected concordance of test patients under their true log-risk: no draw of times and no
censoring enters, so it tells methods apart where Harrell's C rests on two to ten events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cropkt.borrowing.axes import AXES, cohort_moments
from cropkt.borrowing.folds import Split, borrowed_risks, ridge_risks
from cropkt.borrowing.lenders import CohortPatients, gather_lenders

TRUTH = "truth"
"""The method that knows the true log-risk: the ceiling."""


@dataclass(frozen=True)
class WorthRow:
    """A method on a target. probability: that borrowing helps, mean over folds; NaN for methods that do not say."""

    target: str
    method: str
    c_index_true: float
    probability: float


def expected_concordance(risk: np.ndarray, log_risk: np.ndarray) -> float:
    """(M, B) `risk`, NaN where not tested, under proportional hazards with true `log_risk` (B,), without censoring.

    Patient i dies before j with probability expit(log_risk_i - log_risk_j). The mean, over all pairs that a fold
    tests, of the probability that the one with the higher risk dies first; tied risks count one half. NaN of no pair.
    """
    agreed, pairs = 0.0, 0
    for of_fold in risk:
        tested = np.flatnonzero(np.isfinite(of_fold))
        first, second = np.triu_indices(len(tested), 1)
        higher = np.sign(of_fold[tested[first]] - of_fold[tested[second]])
        dies_first = expit(log_risk[tested[first]] - log_risk[tested[second]])
        agreed += float(np.sum(0.5 + higher * (dies_first - 0.5)))
        pairs += len(first)
    return agreed / pairs if pairs else np.nan


def true_worth(
    cohorts: Mapping[str, CohortPatients],
    splits: Mapping[str, Sequence[Split]],
    log_risk: Mapping[str, np.ndarray],
    targets: Sequence[str],
    *,
    axes: int = AXES,
    seed: int = 0,
) -> list[WorthRow]:
    """Every method on every target, all other `cohorts` lending. `splits`, `log_risk` (B,): of the targets, by code."""
    moments = {code: cohort_moments(code, cohort.features) for code, cohort in cohorts.items()}
    rows = []
    for code in targets:
        others = [other for other in cohorts if other != code]
        lenders = gather_lenders(
            [cohorts[other] for other in others], axes=axes, moments=[moments[other] for other in others]
        )
        target, truth = cohorts[code], log_risk[code]
        found = borrowed_risks(lenders, target, splits[code])
        risks = {
            "averaged": found.averaged,
            "borrowed": found.borrowed,
            "prior": found.prior,
            "alone": found.alone,
            "ridge": ridge_risks(target, splits[code], seed=seed),
            TRUTH: np.where(np.isfinite(found.averaged), truth, np.nan),
        }
        probability = float(np.nanmean(found.probability)) if np.isfinite(found.probability).any() else np.nan
        for method, risk in risks.items():
            said = probability if method == "averaged" else np.nan
            rows.append(WorthRow(code, method, expected_concordance(risk, truth), said))
    return rows
