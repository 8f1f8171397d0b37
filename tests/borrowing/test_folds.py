"""No test patient reaches its own risk: neither its features nor its outcome."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort, made_up_lenders

from cropkt.borrowing import folds as module
from cropkt.borrowing.folds import borrowed_risks, ridge_risks
from cropkt.borrowing.lenders import CohortPatients, gather_lenders
from cropkt.survival.concordance import score_folds

LENDERS = gather_lenders(made_up_lenders(), axes=4)
TARGET = made_up_cohort("target", patients=50)
TESTED = np.arange(50) % 5
FOLDS = [(np.flatnonzero(fold != TESTED), np.flatnonzero(fold == TESTED)) for fold in range(5)]
ANSWERS = ("averaged", "borrowed", "alone", "prior")


def risks(target: CohortPatients, folds: list = FOLDS) -> dict[str, np.ndarray]:
    found = borrowed_risks(LENDERS, target, folds)
    answers = {name: getattr(found, name) for name in ANSWERS}
    return answers | {"ridge": ridge_risks(target, folds, seed=0), "probability": found.probability}


def poisoned(tested: np.ndarray) -> CohortPatients:
    random = np.random.default_rng(9)
    features, time, event = TARGET.features.copy(), TARGET.time.copy(), TARGET.event.copy()
    features[tested] = 1e3 * random.normal(size=features[tested].shape)
    time[tested], event[tested] = random.integers(1, 9, len(tested)), 1
    return CohortPatients("target", features, time, event)


@pytest.mark.parametrize("fold", range(5))
def test_poisoned_test_patients_change_no_coefficient(fold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coefficients are watched where they are made; every number of them stays, to the bit."""
    seen: list[np.ndarray] = []
    for name in ("fit_target", "ridge_cox"):
        original = getattr(module, name)

        def watched(*arguments: object, original: object = original, **settings: object) -> object:
            found = original(*arguments, **settings)  # type: ignore[operator]
            seen.extend(getattr(found, part) for part in (*ANSWERS, "coefficients") if hasattr(found, part))
            return found

        monkeypatch.setattr(module, name, watched)
    risks(TARGET, FOLDS[fold : fold + 1])
    risks(poisoned(FOLDS[fold][1]), FOLDS[fold : fold + 1])
    assert len(seen) == 10
    for before, after in zip(seen[:5], seen[5:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_poisoned_test_patients_change_the_other_folds() -> None:
    before, after = risks(TARGET), risks(poisoned(FOLDS[2][1]))
    for name in ("averaged", "borrowed", "alone", "ridge"):
        assert (before[name][0, FOLDS[0][1]] != after[name][0, FOLDS[0][1]]).all(), name
    assert (before["probability"] != after["probability"]).tolist() == [True, True, False, True, True]


def test_one_training_label_changes_every_coefficient_but_the_priors() -> None:
    event = TARGET.event.copy()
    event[FOLDS[0][0][3]] ^= 1
    before, after = risks(TARGET), risks(replace(TARGET, event=event))
    tested = FOLDS[0][1]
    for name in ("averaged", "borrowed", "alone", "ridge"):
        assert (before[name][0, tested] != after[name][0, tested]).all(), name
    np.testing.assert_array_equal(before["prior"][0], after["prior"][0])


def test_a_training_patients_features_move_the_centroid() -> None:
    features = TARGET.features.copy()
    features[FOLDS[0][0][3]] += 5
    before, after = risks(TARGET), risks(replace(TARGET, features=features))
    assert (before["prior"][0, FOLDS[0][1]] != after["prior"][0, FOLDS[0][1]]).all()


def test_a_patient_in_both_lists_of_a_fold_is_tested_only() -> None:
    train, test = FOLDS[0]
    both = [(np.concatenate([train, test[:3]]), test)]
    for name, risk in risks(TARGET, both).items():
        np.testing.assert_array_equal(risk, risks(TARGET, FOLDS[:1])[name])


def test_risks_rank_patients_and_are_nan_where_not_tested() -> None:
    found = risks(made_up_cohort("target", patients=50))
    for name in (*ANSWERS, "ridge"):
        assert (np.isfinite(found[name]) == (np.arange(5)[:, None] == TESTED)).all(), name
    scores = score_folds(TARGET.time, TARGET.event, found["averaged"], TESTED, np.isfinite(found["averaged"]))
    assert scores.pooled.c_index > 0.65


def test_a_target_without_outcomes_gets_the_prior_and_no_ridge() -> None:
    found = risks(replace(TARGET, event=0 * TARGET.event))
    assert np.isnan(found["ridge"]).all()
    assert not found["alone"][0, FOLDS[0][1]].any()
    np.testing.assert_allclose(found["borrowed"], found["prior"], rtol=1e-9)
    np.testing.assert_allclose(found["probability"], 0.9)


def test_a_fold_without_training_patients_is_left_out() -> None:
    found = risks(TARGET, [(np.array([], dtype=int), np.arange(50))])
    assert all(np.isnan(values).all() for values in found.values())
