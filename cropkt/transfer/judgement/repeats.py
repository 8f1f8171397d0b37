"""Repeats: the target's own models cross-validated again, with other splits, starts and seeds.

A repeat is a results folder of its own below OUT/repeats, with the same files: models, records and predictions of what
learns from the target's patients (`significance.trained_on_target`), each with its fingerprint; and routers, where they
are repeated. Models of other cohorts do not change with the target's splits, so their risks are those of the first
cross-validation; only which patients are compared does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cropkt.data.patients.folds import Fold
from cropkt.survival.repeats import repeated_c_index, variance_parts
from cropkt.transfer.current import Expected, current_records
from cropkt.transfer.rows import RepeatedRow
from cropkt.transfer.significance import Comparison, TargetPredictions, trained_on_target
from cropkt.transfer.store import PairRecord, ResultsFolder


@dataclass(frozen=True)
class Repeat:
    """One repeat: where its results are, its folds by cohort, and today's fingerprints."""

    results: ResultsFolder
    folds: Mapping[str, Sequence[Fold]]
    expected: Expected

    def records(self, target: str) -> list[PairRecord]:
        """What is true today of the target's own models."""
        return [record for record in current_records(self.results, self.expected, target).records if record.fingerprint]


def repeat_folder(results: ResultsFolder, number: int) -> ResultsFolder:
    """Where the results of repeat `number`, 1 or more, are kept; `results` are those of the first cross-validation."""
    return replace(results, out=_folder(results) / str(number))


def stored_repeats(results: ResultsFolder) -> list[int]:
    """The repeats of which there is anything, in order."""
    paths = [Path(path) for path in _folder(results).glob("*") if path.name.isdigit()]
    return sorted(int(path.name) for path in paths if repeat_folder(results, int(path.name)).models.path.is_dir())


def _folder(results: ResultsFolder) -> Path:
    return results.out / "repeats"


def repeated_predictions(
    first: TargetPredictions, repeats: Sequence[Repeat]
) -> list[tuple[TargetPredictions, Sequence[Fold]]]:
    """What each repeat with results says of the patients of `first`, beside the risks of `first` that no split changes;
    and the repeat's folds."""
    fixed = {name: risk for name, risk in first.risk.items() if not first.knows_target(name)}
    found = []
    for repeat in repeats:
        names = [record.pair.source for record in repeat.records(first.own)]
        said = repeat.results.predictions(first.own, names) if names else None
        if said is not None:
            found.append((on_patients_of(first, said, fixed), repeat.folds[first.own]))
    return found


def on_patients_of(
    first: TargetPredictions, said: TargetPredictions, fixed: Mapping[str, np.ndarray]
) -> TargetPredictions:
    """What another cross-validation `said`, on the patients of `first` and in their order, beside `fixed` risks.

    Whoever is not tested in both is tested in none.
    """
    where = {patient: number for number, patient in enumerate(said.patients)}
    index = np.array([where.get(patient, -1) for patient in first.patients])
    tested_in = np.where((index >= 0) & (first.tested_in >= 0), said.tested_in[index], -1)
    risk = {name: np.where(tested_in >= 0, values[:, index], np.nan) for name, values in said.risk.items()}
    return replace(first, tested_in=tested_in, risk={**fixed, **risk})


def repeated_rows(cases: Sequence[TargetPredictions], comparisons: Sequence[Comparison]) -> list[RepeatedRow]:
    """A row for each model that has learnt from the target and has a C-index, over `cases`: the first cross-validation
    and its repeats, as far as they have it.

    comparisons: those of its sources, for the smallest difference.
    """
    rows = []
    for model in trained_on_target():
        name = cases[0].own if model == "self" else model
        if name not in cases[0].risk:
            continue
        scores = [case.score(case.risk[name]).pooled for case in cases if name in case.risk]
        known = [score for score in scores if np.isfinite(score.c_index)]
        if not known:  # no event, or no comparable pair
            continue
        found = repeated_c_index(known)
        numbers = range(len(known))
        values, influences = [score.c_index for score in known], [score.influence for score in known]
        parts = variance_parts(values, influences, numbers, numbers) if len(known) > 1 else None
        smallest = [one.smallest for one in comparisons if one.against == model and np.isfinite(one.smallest)]
        lower, upper = found.interval()
        rows.append(
            RepeatedRow(
                target=cases[0].own,
                model=model,
                repeats=found.n_repeats,
                c_index=found.estimate,
                standard_error=found.standard_error,
                interval_lower=lower,
                interval_upper=upper,
                p_chance=found.p_against(),
                spread_patients=float(np.sqrt(parts.patients)) if parts else found.standard_error,
                spread_split_and_seed=float(np.sqrt(parts.split)) if parts else np.nan,
                smallest_difference=float(np.median(smallest)) if smallest else np.nan,
            )
        )
    return rows
