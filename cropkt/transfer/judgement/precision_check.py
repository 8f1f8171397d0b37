"""What multiplying in bfloat16 does to a C-index: every pair of a finished sweep, measured in both precisions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cropkt.data.bags import read_bags
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError
from cropkt.models.precision import DTYPES
from cropkt.training.cards import read_null_card
from cropkt.training.sources import SourceModels, SourcePlan, load_source_models
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class PrecisionRow:
    """A pair's pooled C-index by the same weights in float32 and in bfloat16, and the standard error of the first."""

    source: str
    target: str
    float32: float
    bfloat16: float
    standard_error: float

    @property
    def errors_away(self) -> float:
        """The difference in standard errors; NaN where there is no error."""
        return abs(self.bfloat16 - self.float32) / self.standard_error if self.standard_error > 0 else np.nan


def precision_rows(results: ResultsFolder, cohorts: Sequence[Cohort], tested: Cohort) -> Iterator[PrecisionRow]:
    """A row per source of `cohorts` on the cohort `tested`; nothing is stored.

    Raises CheckpointError for a missing model.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for precision, dtype in DTYPES.items():
        held = hold_target(tested, read_bags(tested, dtype=dtype))
        for source in _sources(results, cohorts, precision):
            pair = measure_pair(source, held).pair
            found.setdefault(source.cohort, {})[precision] = pair.c_index_pooled, pair.standard_error
    for name, by in found.items():
        (exact, error), (rounded, _) = by["float32"], by["bfloat16"]
        yield PrecisionRow(name, tested.code, exact, rounded, error)


def _sources(results: ResultsFolder, cohorts: Sequence[Cohort], precision: str) -> Iterator[SourceModels]:
    card = read_null_card(results.models.null)
    if card is None:
        raise CheckpointError(f"{results.models.null}: missing or damaged; run the sweep again")
    plan = SourcePlan(results.models.path, card.architecture, card.training, card.seed, card.precision)
    for cohort in cohorts:
        source = load_source_models(plan, cohort.code, range(len(cohort.folds)))
        for model in source.models:
            model.trained_with = replace(plan.trained_with, precision=precision)
        yield source
