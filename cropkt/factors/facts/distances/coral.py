"""CORAL distance |C1 - C2|^2 / (4 k^2) of k components (Sun and Saenko 2016)."""

from functools import partial

import numpy as np

from cropkt.factors.facts.distances import Distance
from cropkt.factors.facts.jackknife import jackknifed
from cropkt.factors.facts.moments import Moments


def coral(one: Moments, other: Moments, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the moments' rows `left` and `right`."""
    difference = one.covariance[left] - other.covariance[right]
    return np.square(difference).sum(axis=(1, 2)) / (4 * difference.shape[-1] ** 2)


DISTANCE = Distance("coral", label="CORAL distance", measure=partial(jackknifed, plug_in=coral))
