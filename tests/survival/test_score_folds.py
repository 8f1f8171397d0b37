"""C-indices over folds and models: pooled and averaged, never across folds, never counting a patient twice."""

import numpy as np
import pytest

from cropkt.survival.concordance import FoldScores, concordance, score_folds, standard_error


def scores(time: list, event: list, risk: list, tested_in: list, valid: list | None = None) -> FoldScores:
    risks = np.atleast_2d(np.asarray(risk, dtype=float))
    allowed = np.ones(risks.shape, bool) if valid is None else np.atleast_2d(np.asarray(valid, bool))
    return score_folds(np.asarray(time), np.asarray(event), risks, np.asarray(tested_in), allowed)


def test_only_patients_of_one_fold_are_compared() -> None:
    """In each fold the order is right; between the folds every pair would be wrong."""
    found = scores([1, 2, 3, 4], [1, 1, 1, 1], [2, 1, 20, 10], [0, 0, 1, 1])
    assert concordance([1, 2, 3, 4], [1, 1, 1, 1], [2, 1, 20, 10]).c_index == pytest.approx(2 / 6)
    assert (found.pooled.c_index, found.mean.c_index) == (1, 1)
    assert found.pooled.comparable == 2


def test_pooled_weighs_by_pairs_and_mean_by_cells() -> None:
    """Fold 0: three pairs, all concordant. Fold 1: one, discordant."""
    found = scores([1, 2, 3, 1, 2], [1, 1, 1, 1, 1], [3, 2, 1, 1, 2], [0, 0, 0, 1, 1])
    assert found.pooled.c_index == 3 / 4
    assert found.mean.c_index == 1 / 2
    assert found.pooled.comparable == 4
    assert found.pooled.cells_used == found.mean.cells_used == 2
    assert {key: cell.c_index for key, cell in found.cells.items()} == {(0, 0): 1, (0, 1): 0}


def test_cells_without_a_comparable_pair_are_left_out_and_seen_to_be() -> None:
    found = scores([1, 2, 1, 2, 9], [1, 1, 0, 0, 1], [2, 1, 2, 1, 0], [0, 0, 1, 1, 2])
    assert found.mean.c_index == 1
    assert found.mean.cells_used == 1
    assert found.cells[0, 1].reason == "no event"
    assert found.cells[0, 2].reason == "fewer than two patients"


def test_no_comparable_pair_anywhere_is_nan_not_a_number() -> None:
    found = scores([1, 2], [0, 0], [1, 2], [0, 0])
    for combined in (found.pooled, found.mean):
        assert np.isnan(combined.c_index)
        assert np.isnan(combined.standard_error)
        assert (combined.comparable, combined.cells_used) == (0, 0)


def test_patients_no_fold_tests_and_those_a_model_may_not_score_count_nowhere() -> None:
    alone = scores([1, 2, 3], [1, 1, 1], [3, 1, 2], [0, 0, 0])
    found = scores(
        [1, 2, 3, 2, 2], [1, 1, 1, 1, 1], [3, 1, 2, 9, 9], [0, 0, 0, -1, 0], [[True, True, True, True, False]]
    )
    assert found.pooled.c_index == alone.pooled.c_index
    assert found.pooled.influence.tolist() == [*alone.pooled.influence, 0, 0]


def test_distinct_pairs_of_models_that_score_different_patients() -> None:
    """Model 0 compares patients 0, 1, 2 and model 1 patients 1, 2, 3: three pairs each, (1, 2) twice, (0, 3) never."""
    found = scores([1, 2, 3, 4], [1, 1, 1, 1], [[4, 3, 2, 1]] * 2, [0] * 4, [[1, 1, 1, 0], [0, 1, 1, 1]])
    assert found.pooled.comparable == 5
    assert found.pooled.cells_used == 2


def cohort(random: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    truth = random.normal(size=patients)
    death = random.exponential(np.exp(-truth)) * 300
    leaves = random.exponential(500, patients)
    return np.minimum(death, leaves), (death <= leaves).astype(int), truth, random.permutation(patients) % 5


def test_five_models_that_say_the_same_are_no_surer_than_one() -> None:
    time, event, truth, tested_in = cohort(np.random.default_rng(0), 100)
    one = score_folds(time, event, truth[None], tested_in, np.ones((1, 100), bool))
    five = score_folds(time, event, np.repeat(truth[None], 5, axis=0), tested_in, np.ones((5, 100), bool))
    for name in ("pooled", "mean"):
        single, several = getattr(one, name), getattr(five, name)
        assert several.c_index == pytest.approx(single.c_index, abs=1e-12)
        assert several.standard_error == pytest.approx(single.standard_error, rel=1e-9)
    assert five.pooled.comparable == one.pooled.comparable


@pytest.mark.parametrize("name", ["pooled", "mean"])
def test_the_combined_error_is_that_of_drawing_patients_again(name: str) -> None:
    """Five models that agree in part, five folds; patients are drawn again within their folds."""
    random = np.random.default_rng(1)
    time, event, truth, tested_in = cohort(random, 200)
    risk = 0.5 * truth + 0.7 * random.normal(size=200) + 0.4 * random.normal(size=(5, 200))
    valid = np.ones((5, 200), bool)
    found = getattr(score_folds(time, event, risk, tested_in, valid), name)
    folds = [np.flatnonzero(tested_in == fold) for fold in range(5)]
    again = []
    for _ in range(150):
        draw = np.concatenate([random.choice(members, len(members)) for members in folds])
        drawn = score_folds(time[draw], event[draw], risk[:, draw], tested_in[draw], valid)
        again.append(getattr(drawn, name).c_index)
    assert found.standard_error == pytest.approx(np.std(again), rel=0.2)


def test_two_sources_on_one_target_are_compared_through_their_influences() -> None:
    random = np.random.default_rng(2)
    time, event, truth, tested_in = cohort(random, 120)
    valid = np.ones((5, 120), bool)
    risk = truth + 0.5 * random.normal(size=(5, 120))
    one = score_folds(time, event, risk, tested_in, valid).pooled
    same = score_folds(time, event, np.exp(risk), tested_in, valid).pooled
    near = score_folds(time, event, risk + 0.1 * random.normal(size=(5, 120)), tested_in, valid).pooled
    assert standard_error(one.influence - same.influence) == pytest.approx(0, abs=1e-12)
    assert 0 < standard_error(one.influence - near.influence) < 0.5 * np.hypot(one.standard_error, near.standard_error)


def test_a_fold_without_spread_of_its_own_still_adds_error() -> None:
    """One pair a fold is always 0 or 1, so no cell has an error of its own, but their combination has."""
    time, event = [1, 2] * 4, [1, 0] * 4
    found = scores(time, event, [2, 1, 2, 1, 2, 1, 1, 2], [0, 0, 1, 1, 2, 2, 3, 3])
    assert all(cell.standard_error == 0 for cell in found.cells.values())
    assert found.pooled.c_index == 3 / 4
    # Each patient is in one pair; a concordant one adds (1 - 3/4) / 4, the discordant one (0 - 3/4) / 4, twice each.
    assert found.pooled.standard_error == pytest.approx(np.sqrt(2 * (3 * (1 / 16) ** 2 + (3 / 16) ** 2)))
