"""Choosing a source without the test patients, and what the oracle would have seen."""

from dataclasses import replace

import numpy as np
import pytest

from cropkt.data.patients.folds import Fold
from cropkt.transfer.rows import MethodRow
from cropkt.transfer.significance import TargetPredictions
from cropkt.transfer.source_choice import choose_sources, source_choices

PATIENTS = 150
NAMES = tuple(f"p{number:03d}" for number in range(PATIENTS))
TESTED_IN = np.arange(PATIENTS) % 5
FOLDS = tuple(
    Fold(
        train=tuple(name for name, where in zip(NAMES, TESTED_IN, strict=True) if where != fold),
        test=tuple(name for name, where in zip(NAMES, TESTED_IN, strict=True) if where == fold),
    )
    for fold in range(5)
)


def predictions(seed: int = 0) -> TargetPredictions:
    random = np.random.default_rng(seed)
    truth = random.normal(size=PATIENTS)
    risk = {
        name: skill * truth + random.normal(size=(5, PATIENTS)) for name, skill in (("a", 0.2), ("b", 1.5), ("c", -1.0))
    }
    own = np.full((5, PATIENTS), np.nan)
    own[TESTED_IN, np.arange(PATIENTS)] = truth + random.normal(size=PATIENTS)
    event = (random.random(PATIENTS) < 0.6).astype(np.int64)
    return TargetPredictions("acc", NAMES, random.exponential(np.exp(-truth)), event, TESTED_IN, {**risk, "acc": own})


def chosen(found: TargetPredictions, *sources: str) -> dict[str, MethodRow]:
    return {row.method: row for row in choose_sources(found, sources or ("a", "b", "c"), FOLDS)}


def test_the_honest_choice_finds_the_better_source() -> None:
    rows = chosen(predictions())
    assert rows["honest"].sources == ("b",) * 5
    assert rows["oracle"].sources == ("b",) * 5
    assert rows["honest"].gap_to_oracle == 0
    assert set(rows) == {"self", "honest", "oracle", "rank_average", "majority_vote"}
    assert rows["honest"].interval_lower > 0.6
    assert np.isnan([rows["oracle"].interval_lower, rows["oracle"].p_self, rows["oracle"].p_home]).all()
    assert np.isnan(rows["self"].p_self)


def rivals() -> TargetPredictions:
    """Of two sources, "good" is a little better in every fold than "worse"."""
    random = np.random.default_rng(4)
    truth = random.normal(size=PATIENTS)
    risk = {name: skill * truth + random.normal(size=PATIENTS) for name, skill in (("good", 1.0), ("worse", 0.5))}
    risk = {name: np.tile(of_source, (5, 1)) for name, of_source in risk.items()}
    event = (random.random(PATIENTS) < 0.6).astype(np.int64)
    return TargetPredictions("acc", NAMES, random.exponential(np.exp(-truth)), event, TESTED_IN, risk)


@pytest.mark.parametrize("fold", range(5))
def test_no_test_label_reaches_the_choice(fold: int) -> None:
    """Labels of a fold's test patients that follow the worse source turn every other fold's choice, but not its own."""
    base = rivals()
    tested = base.tested_in == fold
    # Whom the worse source puts at the highest risk dies first, and all of them die.
    dies_as_it_says = np.argsort(np.argsort(-base.risk["worse"][0])) + 1.0
    turned = replace(base, time=np.where(tested, dies_as_it_says, base.time), event=np.where(tested, 1, base.event))
    rows = {method: row.sources for method, row in chosen(turned, "good", "worse").items()}
    assert chosen(base, "good", "worse")["honest"].sources == ("good",) * 5
    assert rows["honest"] == tuple("good" if number == fold else "worse" for number in range(5))
    assert rows["oracle"] == ("worse",) * 5, "who looks at the test patients is taken in"


def test_each_folds_risks_are_those_of_the_source_chosen_for_it() -> None:
    base = rivals()
    tested = base.tested_in == 3
    dies_as_it_says = np.argsort(np.argsort(-base.risk["worse"][0])) + 1.0
    turned = replace(base, time=np.where(tested, dies_as_it_says, base.time), event=np.where(tested, 1, base.event))
    risks, chosen_by = source_choices(turned, ["good", "worse"], FOLDS)
    assert len(set(chosen_by["honest"])) == 2
    for fold, source in enumerate(chosen_by["honest"]):
        of_fold = turned.tested_in == fold
        np.testing.assert_array_equal(risks["honest"][:, of_fold], turned.risk[source][:, of_fold])


@pytest.mark.parametrize("ensemble", ["rank_average", "majority_vote"])
def test_an_ensemble_ranks_a_patient_among_training_patients_alone(ensemble: str) -> None:
    base = rivals()

    def of_fold_0(patients: np.ndarray) -> np.ndarray:
        """What the ensemble says of fold 0 but its first patient, when `patients` are at the highest risk there is."""
        risk = {name: np.where(patients, 100.0, values) for name, values in base.risk.items()}
        found = source_choices(replace(base, risk=risk), list(risk), FOLDS)[0][ensemble]
        return found[0, np.flatnonzero(TESTED_IN == 0)[1:]]

    nobody, number = np.zeros(PATIENTS, bool), np.arange(PATIENTS)
    np.testing.assert_array_equal(of_fold_0(nobody), of_fold_0(number == np.flatnonzero(TESTED_IN == 0)[0]))
    assert not np.array_equal(of_fold_0(nobody), of_fold_0((TESTED_IN != 0) & (number < 80)))


def test_the_oracle_is_never_worse_than_a_single_source_chosen_for_all_folds() -> None:
    for seed in range(5):
        rows = chosen(predictions(seed))
        if len(set(rows["honest"].sources)) == 1:
            assert rows["honest"].gap_to_oracle >= 0


def test_ensembles_use_all_sources_and_beat_a_useless_one() -> None:
    base = predictions()
    good = {name: base.risk["b"] + np.random.default_rng(i).normal(size=(5, PATIENTS)) for i, name in enumerate("abc")}
    rows = chosen(replace(base, risk={**base.risk, **good}))
    assert rows["rank_average"].c_index_pooled >= rows["oracle"].c_index_pooled - 0.02
    assert 0.6 < rows["majority_vote"].c_index_pooled <= rows["rank_average"].c_index_pooled + 0.05


def test_without_candidates_there_is_nothing_to_choose() -> None:
    assert choose_sources(predictions(), [], FOLDS) == []
