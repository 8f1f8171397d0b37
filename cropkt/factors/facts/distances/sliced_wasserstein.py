"""Sliced Wasserstein-2 distance, squared (Bonneel et al. 2015)."""

from functools import partial

import numpy as np

from cropkt.factors.facts.distances import Distance
from cropkt.factors.facts.jackknife import jackknifed
from cropkt.factors.facts.moments import Moments


def sliced_wasserstein(one: Moments, other: Moments, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of the moments' rows `left` and `right`: the mean squared difference of quantiles along all directions."""
    return np.square(one.quantiles[left] - other.quantiles[right]).mean(axis=1)


DISTANCE = Distance(
    "sliced_wasserstein", label="sliced Wasserstein distance", measure=partial(jackknifed, plug_in=sliced_wasserstein)
)
