"""How probable it is that borrowing beats the best simple own model here: what was measured, not only what is assumed.

The evidence (`TargetFit.probability`) tells a cohort that runs the other way from one that does not. It does not tell
by how much borrowing helps: with more events the evidence for the others grows and the gain shrinks. On 389 draws (16
cohorts of real RNA, 14 of a simulated study) the number of training events was all that foretold whether borrowed
coefficients would beat an own ridge Cox model; cross-validated predictive likelihood and evidence added nothing.
`cropkt check-borrowing` measures the calibration on other draws (docs/borrowing.md).
"""

import numpy as np

from cropkt.borrowing.fit import PRIOR_PROBABILITY

INTERCEPT, SLOPE = 1.96, -0.43
"""Logistic regression of "borrowed beats own ridge" on the log of the training events."""


def probability_of_gain(events: float, agreement: float) -> float:
    """That borrowing beats an own model with so many training `events`.

    `agreement` is `TargetFit.probability`. Where the target's outcomes speak against the others', what is left of the
    prior probability scales it.
    """
    by_events = 1 / (1 + np.exp(-(INTERCEPT + SLOPE * np.log(max(events, 1.0)))))
    return float(by_events * min(1.0, agreement / PRIOR_PROBABILITY))
