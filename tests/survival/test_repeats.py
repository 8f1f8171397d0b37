"""Repeated cross-validation: known answers, and the size of tests of models that were trained on the target."""

import numpy as np
import pytest

from cropkt.survival.checks.repeats_check import Learning, size_table
from cropkt.survival.concordance import CombinedConcordance, p_value_of_difference, smallest_difference
from cropkt.survival.repeats import repeated_c_index, repeated_difference, variance_parts


def repeat(c_index: float, influence: list[float], events: int = 9) -> CombinedConcordance:
    return CombinedConcordance(c_index, 100, 5, events, np.array(influence))


def test_one_repeat_is_what_it_was_before() -> None:
    one = repeat(0.7, [0.03, -0.04])
    found = repeated_c_index([one])
    assert (found.estimate, found.standard_error, found.n_repeats) == (0.7, pytest.approx(0.05), 1)
    assert found.standard_error == found.patients_error == one.standard_error


def test_by_hand() -> None:
    """Influences (.04, .02) and (.02, .02), mean (.03, .02): .0013; variances (.0002, 0), halved .0001: patients .0012.
    C-indices .6 and .7: variance .005, halved .0025. Together 2 x .0012 + .0025."""
    found = repeated_c_index([repeat(0.6, [0.04, 0.02]), repeat(0.7, [0.02, 0.02], events=7)])
    assert found.estimate == pytest.approx(0.65)
    assert found.patients_error**2 == pytest.approx(0.0013)
    assert found.standard_error**2 == pytest.approx(0.0049)
    assert found.events == 7
    assert found.smallest_difference() == smallest_difference(found.standard_error, 7)


def test_repeats_that_agree_add_nothing_but_the_training_samples_luck() -> None:
    found = repeated_c_index([repeat(0.6, [0.03, 0.04])] * 4)
    assert found.standard_error == pytest.approx(np.sqrt(2) * 0.05)


def test_repeats_that_disagree_entirely_are_averaged_out_but_never_below_the_patients_error() -> None:
    found = repeated_c_index([repeat(0.6, [0.05, 0.0]), repeat(0.6, [0.0, 0.05])])
    assert found.standard_error == found.patients_error == pytest.approx(np.sqrt(2) * 0.025)


def test_differences_are_taken_repeat_by_repeat() -> None:
    ours, theirs = (
        [repeat(0.7, [0.05, 0.02]), repeat(0.6, [0.04, 0.02])],
        [repeat(0.6, [0.05, 0.0]), repeat(0.5, [0.04, 0.0])],
    )
    found = repeated_difference(ours, theirs)
    assert found.estimate == pytest.approx(0.1)
    assert found.standard_error == pytest.approx(np.sqrt(2) * 0.02)
    assert found.p_of_difference() == p_value_of_difference(found.estimate, found.standard_error, 9)


def test_training_luck_counts_for_the_sides_that_were_trained() -> None:
    """Influences of .05 that all repeats agree on: twice, one and a half times and once the patients' variance."""
    ours, theirs = [repeat(0.7, [0.05, 0.0])] * 3, [repeat(0.6, [0.0, 0.0])] * 3
    both, one = (repeated_difference(ours, theirs, trained=trained) for trained in (2, 1))
    assert both.standard_error**2 == pytest.approx(2 * 0.0025)
    assert one.standard_error**2 == pytest.approx(1.5 * 0.0025)
    assert repeated_c_index(ours, trained=0).standard_error == pytest.approx(0.05)


def test_repeats_without_a_c_index_are_left_out() -> None:
    found = repeated_c_index([repeat(0.6, [0.03, 0.04]), repeat(np.nan, [np.nan, np.nan], events=0)])
    assert (found.estimate, found.n_repeats, found.events) == (0.6, 1, 9)
    assert np.isnan(repeated_c_index([]).standard_error)
    assert np.isnan(repeated_c_index([]).p_against())


def test_parts_of_the_variance_are_those_that_were_put_in() -> None:
    random = np.random.default_rng(0)
    patients, split, seed = 0.0016, 0.0009, 0.0025
    splits, seeds = np.repeat(np.arange(1500), 3), np.tile(np.arange(3), 1500)
    values = 0.6 + np.sqrt(split) * random.normal(size=1500)[splits] + np.sqrt(seed) * random.normal(size=4500)
    influence = random.normal(size=50)
    influence *= np.sqrt(patients) / np.linalg.norm(influence)
    found = variance_parts(values, np.tile(influence, (4500, 1)), splits, seeds)
    assert found.patients == pytest.approx(2 * patients), "and as much for those who trained"
    assert found.split == pytest.approx(split, rel=0.15)
    assert found.seed == pytest.approx(seed, rel=0.15)
    together = variance_parts(values[::3], np.tile(influence, (1500, 1)), splits[::3], seeds[::3])
    assert together.split == pytest.approx(split + seed, rel=0.2)
    assert np.isnan(together.seed)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [Learning(1.0, 0.2), Learning(1.0, 0.5)], ids=["10 events", "20 events"])
def test_the_size_of_comparisons_with_models_trained_on_the_target(setting: Learning) -> None:
    """250 cohorts; a true size of 5 % is found between 2 and 9 %. One repeat takes the models as they are."""
    table = size_table(250, 1, (1, 5), (setting,)).set_index(["question", "repeats"])
    for question in ("own", "own less another own", "own less fixed", "routed less own"):
        assert 0.01 <= table.loc[(question, 5), "size_5"] <= 0.09
    assert table.loc[("own", 5), "spread_over_error"] < 1.13
    assert table.loc[("own", 1), "spread_over_error"] > table.loc[("own", 5), "spread_over_error"] + 0.05
