"""Distances between cohorts' feature distributions: one file each, with the record. See docs/extending.md.

A distance is two factors, of patches and of patients' means; the catalogue has both for every record here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cropkt.registry import Table

if TYPE_CHECKING:
    import numpy as np

    from cropkt.factors.facts.points import CohortPoints


@dataclass(frozen=True)
class DistanceMatrix:
    """A distance between all pairs of C cohorts: value and standard_error (C, C); the diagonal is that of alike ones.

    variants: the same with another tuning, (C, C) by a name that ends the column's.
    """

    value: "np.ndarray"
    standard_error: "np.ndarray"
    variants: "Mapping[str, np.ndarray]" = field(default_factory=dict)


@dataclass(frozen=True)
class Distance:
    """A distance, measured between all cohorts at once."""

    name: str
    label: str
    measure: "Callable[[CohortPoints], DistanceMatrix]"


DISTANCES: Table[Distance] = Table("distance", "cropkt.factors.facts.distances")
