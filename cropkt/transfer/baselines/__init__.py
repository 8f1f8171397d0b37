"""Baselines: results that a source has to beat, measured on the same patients and folds and kept like a source's.

One file each, with the record of that name. See docs/extending.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cropkt.registry import Table


@dataclass(frozen=True)
class Baseline:
    """A baseline. trained_on and meaning are for people: the data it learns from, and one or two sentences about it.

    measure: (pair.TargetCohort, sources.SourcePlan) -> pair.PairResult: from a target held ready, and how the sources
    it is compared with are made, to the baseline's result. The source of that result is `name`, which is also its mode.
    It may learn from patients of a target's fold only to predict patients that this fold tests. The types are not
    imported: pair.py asks this table who is a baseline.
    """

    name: str
    label: str
    trained_on: str
    meaning: str
    measure: Callable[..., Any]


BASELINES: Table[Baseline] = Table("baseline", "cropkt.transfer.baselines")
