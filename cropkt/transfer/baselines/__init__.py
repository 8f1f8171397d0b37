"""Baselines: results that a source has to beat, measured on the same patients and folds and kept like a source's.

One file each, with the record of that name. See docs/extending.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cropkt.registry import Table

if TYPE_CHECKING:
    from cropkt.training.sources import SourceModels, SourcePlan
    from cropkt.transfer.pair import PairResult, TargetCohort


@dataclass(frozen=True)
class Baseline:
    """A baseline. trained_on and meaning are for people: the data it learns from, and one or two sentences about it.

    measure: from a target held ready, and how the sources it is compared with are made, to the baseline's result. The
    source of that result is `name`, which is also its mode. It may learn from patients of a target's fold only to
    predict patients that this fold tests.
    models: from a target's code, and how sources are made, to models that `measure` hands to `measure_pair`; they are
    then run in the same pass over the target's slides as the sources.
    """

    name: str
    label: str
    trained_on: str
    meaning: str
    measure: "Callable[[TargetCohort, SourcePlan], PairResult]"
    models: "Callable[[str, SourcePlan], SourceModels] | None" = None


BASELINES: Table[Baseline] = Table("baseline", "cropkt.transfer.baselines")
