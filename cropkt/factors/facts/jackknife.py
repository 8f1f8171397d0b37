"""Distances made of cohorts' moments, freed of the bias of few patients.

Plugged into formulas, moments of few patients make distances too large; a jackknife that leaves out a tenth of a
cohort's patients at a time takes the leading part of this bias away and gives the standard error. So a value may be
below 0 where two cohorts are alike.
"""

from collections.abc import Callable

import numpy as np

from cropkt.factors.facts.distances import DistanceMatrix
from cropkt.factors.facts.moments import PARTS, Moments
from cropkt.factors.facts.points import CohortPoints

PlugIn = Callable[[Moments, Moments, np.ndarray, np.ndarray], np.ndarray]
"""From two cohorts' moments, and rows `left` of the one and `right` of the other, to the distances of these rows."""


def jackknifed(points: CohortPoints, plug_in: PlugIn) -> DistanceMatrix:
    """The distance that `plug_in` computes from moments, between all pairs of cohorts."""
    moments = points.moments
    value, error = (np.zeros((len(moments), len(moments))) for _ in range(2))
    # Row 0 is the full comparison; then each part of the one is left out, then each part of the other.
    left = np.concatenate([np.arange(1 + PARTS), np.zeros(PARTS, dtype=int)])
    right = np.concatenate([np.zeros(1 + PARTS, dtype=int), np.arange(1, 1 + PARTS)])
    for c in range(len(moments)):
        for d in range(c + 1, len(moments)):
            value[c, d], error[c, d] = _jackknife(plug_in(moments[c], moments[d], left, right))
            value[d, c], error[d, c] = value[c, d], error[c, d]
    return DistanceMatrix(value, error)


def _jackknife(values: np.ndarray) -> tuple[float, float]:
    """Bias-corrected value and standard error from the full value and those without each part of either sample."""
    full, parts = values[0], (values[1 : 1 + PARTS], values[1 + PARTS :])
    corrected = full - (PARTS - 1) * sum(part.mean() - full for part in parts)
    return float(corrected), float(np.sqrt(sum((PARTS - 1) * part.var() for part in parts)))
