"""Further cross-validations of a target: patients find each other, and only what was trained again is repeated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cropkt.data.patients.folds import Fold
from cropkt.survival.repeats import repeated_difference
from cropkt.transfer.judgement.repeats import (
    Repeat,
    repeat_folder,
    repeated_predictions,
    repeated_rows,
    stored_repeats,
)
from cropkt.transfer.significance import TargetPredictions, compare
from cropkt.transfer.source_choice import choose_sources, source_choices
from cropkt.transfer.store import ResultsFolder

PATIENTS, FOLDS = 60, 3
RESULTS = ResultsFolder(Path("out"), "e", "abmil")


def own_models(seed: int, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The folds (B,) of a cross-validation, and (FOLDS, B) risks of models that each score their own fold."""
    random = np.random.default_rng(seed)
    tested_in = random.permutation(np.arange(PATIENTS) % FOLDS)
    risk = np.where(
        tested_in == np.arange(FOLDS)[:, None], 0.4 * signal + random.normal(size=(FOLDS, PATIENTS)), np.nan
    )
    return tested_in, risk


@pytest.fixture
def first() -> TargetPredictions:
    random = np.random.default_rng(0)
    time, event = random.exponential(100, PATIENTS), random.integers(0, 2, PATIENTS)
    tested_in, own = own_models(1, -time / 100)
    risk = {
        "acc": own,
        "brca": -time / 100 + random.normal(size=(5, PATIENTS)),
        "null": random.normal(size=(1, PATIENTS)),
        "size": own + random.normal(),
    }
    return TargetPredictions("acc", tuple(f"p{n}" for n in range(PATIENTS)), time, event, tested_in, risk)


def again(first: TargetPredictions, seed: int, order: np.ndarray) -> TargetPredictions:
    """Another cross-validation of the target alone, as it is stored: its patients in this `order`."""
    tested_in, own = own_models(seed, -first.time / 100)
    patients = tuple(first.patients[index] for index in order)
    facts = (values[order] for values in (first.time, first.event, tested_in))
    return TargetPredictions("acc", patients, *facts, {"acc": own[:, order]})


def folds(of: TargetPredictions) -> list[Fold]:
    names, tested_in = np.array(of.patients), of.tested_in
    return [Fold(tuple(names[tested_in != fold]), tuple(names[tested_in == fold])) for fold in range(FOLDS)]


def repeat_of(said: TargetPredictions | None) -> Repeat:
    class Stored(SimpleNamespace):
        def records(self, _target: str) -> list[Any]:
            return [] if said is None else [SimpleNamespace(pair=SimpleNamespace(source="acc"))]

    results: Any = SimpleNamespace(predictions=lambda _target, _names: said)
    stored: Any = Stored(results=results, folds={"acc": [] if said is None else folds(said)})
    return stored


def test_patients_find_each_other_whatever_their_order(first: TargetPredictions) -> None:
    straight, shuffled = np.arange(PATIENTS), np.random.default_rng(5).permutation(PATIENTS)
    (as_they_are,), (mixed,) = (
        repeated_predictions(first, [repeat_of(again(first, 2, order))]) for order in (straight, shuffled)
    )
    assert mixed[0].tested_in.tolist() == as_they_are[0].tested_in.tolist()
    np.testing.assert_array_equal(mixed[0].risk["acc"], as_they_are[0].risk["acc"])
    assert set(mixed[0].risk) == {"acc", "brca", "null"}, "size was not repeated"


def test_a_patient_whom_one_of_them_does_not_test_is_not_compared(first: TargetPredictions) -> None:
    untested = replace(first, tested_in=np.where(np.arange(PATIENTS) == 7, -1, first.tested_in))
    ((found, _),) = repeated_predictions(untested, [repeat_of(again(first, 2, np.arange(3, PATIENTS)))])
    assert (found.tested_in[[0, 1, 2, 7]] == -1).all()
    assert np.isnan(found.risk["acc"][:, [0, 1, 2, 7]]).all()
    assert np.isfinite(found.risk["acc"]).sum() == PATIENTS - 4


def test_repeats_without_results_count_for_nothing(first: TargetPredictions) -> None:
    assert repeated_predictions(first, [repeat_of(None)]) == []


def compared(first: TargetPredictions, repeats: Sequence[TargetPredictions]) -> dict[str, Any]:
    return {one.against: one for one in compare(first, repeats)}


def test_only_comparisons_with_what_was_trained_again_are_repeated(first: TargetPredictions) -> None:
    cases = [of for of, _ in repeated_predictions(first, [repeat_of(again(first, n, np.arange(60))) for n in (2, 3)])]
    found, once = compared(first, cases), compared(first, [])
    assert found["null"] == once["null"]
    assert found["size"] == once["size"]
    scores = [[case.score(case.risk[name]).pooled for case in (first, *cases)] for name in ("brca", "acc")]
    expected = repeated_difference(*scores, trained=1)
    own = found["self"]
    assert (own.repeats, once["self"].repeats) == (3, 1)
    assert own.difference == pytest.approx(expected.estimate)
    assert own.p_value == pytest.approx(expected.p_of_difference())
    assert own.smallest == pytest.approx(expected.smallest_difference())


def test_choices_are_made_anew_in_each_repeat(first: TargetPredictions) -> None:
    repeated = repeated_predictions(first, [repeat_of(again(first, 2, np.arange(60)))])
    once = {row.method: row for row in choose_sources(first, ["brca"], folds(first))}
    found = {row.method: row for row in choose_sources(first, ["brca"], folds(first), repeated)}
    case = repeated[0][0]
    both = [of.score(of.risk["brca"]).pooled.c_index for of in (first, case)]
    assert once["honest"].c_index_pooled == pytest.approx(both[0])
    assert found["honest"].c_index_pooled == pytest.approx(np.mean(both))
    assert (once["honest"].error_covers, found["honest"].error_covers) == (
        "patients",
        "patients, training sample, splits and seeds",
    )
    own = [of.score(of.risk["acc"]).pooled.c_index for of in (first, case)]
    assert found["honest"].difference_self == pytest.approx(np.mean(both) - np.mean(own))


def test_a_choice_in_a_repeat_sees_the_training_patients_of_that_repeat_alone(first: TargetPredictions) -> None:
    """Sources of equal skill, so that other training patients make another choice."""
    random = np.random.default_rng(8)
    twins = {
        name: -first.time / 100 + random.normal(scale=2, size=(5, PATIENTS))
        for name in ("brca", "lung", "ov", "uvm", "kipan")
    }
    first = replace(first, risk={**first.risk, **twins})
    ((case, their_folds),) = repeated_predictions(first, [repeat_of(again(first, 2, np.arange(60)))])
    own_folds, sources = folds(first), list(twins)

    def honest(of: TargetPredictions, of_folds: Sequence[Fold]) -> float:
        return of.score(source_choices(of, sources, of_folds)[0]["honest"]).pooled.c_index

    assert honest(case, their_folds) != honest(case, own_folds), "else this shows nothing"
    rows = choose_sources(first, sources, own_folds, [(case, their_folds)])
    found = {row.method: row.c_index_pooled for row in rows}["honest"]
    assert found == pytest.approx(np.mean([honest(first, own_folds), honest(case, their_folds)]))


def test_rows_say_what_the_c_index_varies_with(first: TargetPredictions) -> None:
    cases = [of for of, _ in repeated_predictions(first, [repeat_of(again(first, n, np.arange(60))) for n in (2, 3)])]
    row, of_size = (
        next(row for row in repeated_rows([first, *cases], compare(first, cases)) if row.model == model)
        for model in ("self", "size")
    )
    assert of_size.repeats == 1, "size was not repeated"
    values = [case.score(case.risk["acc"]).pooled.c_index for case in (first, *cases)]
    assert (row.model, row.repeats, row.c_index) == ("self", 3, pytest.approx(np.mean(values)))
    assert row.spread_split_and_seed == pytest.approx(np.std(values, ddof=1))
    assert row.smallest_difference > row.standard_error > 0
    once = next(row for row in repeated_rows([first], compare(first)) if row.model == "self")
    assert (once.repeats, once.standard_error) == (1, once.spread_patients)
    assert np.isnan(once.spread_split_and_seed)


def test_repeats_are_found_again(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "e", "abmil")
    assert stored_repeats(results) == []
    for number in (2, 10):
        repeat_folder(results, number).models.path.mkdir(parents=True)
    repeat_folder(ResultsFolder(tmp_path, "e", "max"), 3).models.path.mkdir(parents=True)
    (tmp_path / "repeats" / "notes").mkdir()
    assert stored_repeats(results) == [2, 10]
