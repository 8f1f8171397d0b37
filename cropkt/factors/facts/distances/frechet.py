"""Frechet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2) (Dowson and Landau 1982)."""

from functools import partial

import numpy as np

from cropkt.factors.facts.distances import Distance
from cropkt.factors.facts.jackknife import jackknifed
from cropkt.factors.facts.moments import Moments


def frechet(one: Moments, other: Moments, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the moments' rows `left` and `right`."""
    shift = np.square(one.mean[left] - other.mean[right]).sum(axis=1)
    traces = [np.trace(of.covariance, axis1=1, axis2=2) for of in (one, other)]
    # With C = R R', the trace of (C1^1/2 C2 C1^1/2)^1/2 is the sum of the singular values of R1' R2.
    overlap = np.linalg.svd(one.root[left].transpose(0, 2, 1) @ other.root[right], compute_uv=False).sum(axis=1)
    return shift + traces[0][left] + traces[1][right] - 2 * overlap


DISTANCE = Distance("frechet", label="Frechet distance", measure=partial(jackknifed, plug_in=frechet))
