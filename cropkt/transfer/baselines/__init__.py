"""Baselines: results that a source has to beat, measured on the same patients and folds and kept like a source's.

One file each, with the record of that name. See docs/extending.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cropkt.registry import Table

if TYPE_CHECKING:
    import pandas as pd

    from cropkt.data.study import Cohort


class Role(StrEnum):
    """What a baseline is for. Pairs are compared with all but SHOWN and SOURCE; START and AT_HOME decide verdicts."""

    SHOWN = "shown beside the others"
    COMPARED = "compared with every pair"
    START = "where the sources' training started; a source that is no better has transferred nothing"
    AT_HOME = "the target can train it itself; a source that is no better is not worth borrowing"
    CONFOUNDER = "explains a pair that it reaches alone"
    SOURCE = "a source that is no cohort: compared and judged as a pair is, in families of its own"


def _nothing(cohort: "Cohort") -> "pd.DataFrame | None":  # noqa: ARG001
    return None


@dataclass(frozen=True)
class Baseline:
    """A baseline. trained_on and meaning are for people: the data it learns from, and one or two sentences about it.

    measure: (pair.TargetCohort, sources.SourcePlan) -> pair.PairResult: from a target held ready, and how the sources
    it is compared with are made, to the baseline's result. The source of that result is `name`, which is also its mode.
    It may learn from patients of a target's fold only to predict patients that this fold tests. The types are not
    imported: pair.py asks this table who is a baseline.
    learns: whether it does; pairs are then compared with it within test folds only. reads: columns beyond times,
    events, folds and features that it learns from, so that it is measured again when they change.
    models: (a target's code, sources.SourcePlan) -> sources.SourceModels that `measure` hands to `measure_pair`; they
    are then run in the same pass over the target's slides as the sources.
    """

    name: str
    label: str
    trained_on: str
    meaning: str
    measure: Callable[..., Any]
    role: Role = Role.SHOWN
    learns: bool = True
    reads: "Callable[[Cohort], pd.DataFrame | None]" = _nothing
    models: Callable[..., Any] | None = None


BASELINES: Table[Baseline] = Table("baseline", "cropkt.transfer.baselines")
"""How baselines are found by name."""
