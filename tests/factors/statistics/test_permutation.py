"""Permutation tests: exact where all orders can be counted, right in size, and the blind spot of QAP."""

from itertools import permutations

import numpy as np
from numpy.testing import assert_allclose

from cropkt.factors.statistics.permutation import cohort_effects, permute_cohort_factor, permute_pair_factor
from cropkt.simulation.matrix import MatrixDesign, simulate_matrix


def within(values: np.ndarray) -> np.ndarray:
    """Values (C, C) off the diagonal less what source and target effects fit, as one vector."""
    source, target = np.nonzero(~np.eye(len(values), dtype=bool))
    dummies = np.column_stack([np.eye(len(values))[source], np.eye(len(values))[target]])
    y = values[source, target]
    return y - dummies @ np.linalg.lstsq(dummies, y, rcond=None)[0]


def test_the_statistic_is_the_t_of_least_squares_with_free_source_and_target_effects() -> None:
    random = np.random.default_rng(0)
    outcome, factor = random.standard_normal((2, 9, 9))
    found = permute_pair_factor(outcome, factor, [], np.ones((9, 9)), random, 9)
    y, x = within(outcome), within(factor)
    slope = x @ y / (x @ x)
    noise = np.square(y - slope * x).sum() / (72 - 17 - 1)
    assert_allclose(found.slope, slope)
    assert_allclose(found.statistic, slope * np.sqrt(x @ x / noise))
    assert_allclose(found.explained, np.corrcoef(x, y)[0, 1] ** 2)


def test_p_is_the_share_of_label_orders_with_as_large_a_statistic() -> None:
    random = np.random.default_rng(3)
    outcome, factor = random.standard_normal((2, 6, 6))
    outcome += 0.6 * factor
    y = within(outcome)
    source, target = np.nonzero(~np.eye(6, dtype=bool))
    residual = np.zeros((6, 6))
    residual[source, target] = within(factor)
    cosines = []
    for order in permutations(range(6)):
        x = within(residual[np.ix_(order, order)])
        cosines.append(abs(x @ y) / np.sqrt(x @ x))
    exact = np.mean(np.array(cosines) >= cosines[0] * (1 - 1e-9))
    found = permute_pair_factor(outcome, factor, [], np.ones((6, 6)), random, 4000)
    assert_allclose(found.p_qap, exact, atol=4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3)
    assert found.p_value >= found.p_qap


def test_what_is_held_fixed_explains_nothing_any_more() -> None:
    random = np.random.default_rng(1)
    cause = random.standard_normal((15, 15))
    outcome = cause + 0.3 * random.standard_normal((15, 15))
    proxy = cause + 0.5 * random.standard_normal((15, 15))
    weight = np.ones((15, 15))
    assert permute_pair_factor(outcome, proxy, [], weight, random, 199).p_value < 0.01
    assert permute_pair_factor(outcome, proxy, [cause], weight, random, 199).p_value > 0.05


def test_source_and_target_effects_cannot_look_like_an_effect_of_the_pair() -> None:
    random = np.random.default_rng(2)
    ease = random.standard_normal(12)
    outcome = 5 * ease[:, None] + 5 * ease + 0.1 * random.standard_normal((12, 12))
    factor = ease[:, None] + ease + 0.1 * random.standard_normal((12, 12))
    assert permute_pair_factor(outcome, factor, [], np.ones((12, 12)), random, 199).p_value > 0.05


def test_missing_pairs_and_unknown_factors_are_left_out() -> None:
    random = np.random.default_rng(4)
    factor = random.standard_normal((14, 14))
    outcome = factor + 0.3 * random.standard_normal((14, 14))
    outcome[3] = np.nan  # a source that failed
    outcome[5, 6] = np.nan
    factor[7, 8] = np.nan
    found = permute_pair_factor(outcome, factor, [], np.isfinite(outcome).astype(float), random, 199)
    assert found.p_value < 0.01
    assert abs(found.slope - 1) < 0.15
    source, target = cohort_effects(outcome, np.isfinite(outcome).astype(float))
    assert np.isnan(source[3])
    assert np.isfinite(np.delete(source, 3)).all()
    assert np.isfinite(target).all()


def test_effects_are_those_that_were_put_in() -> None:
    random = np.random.default_rng(5)
    source, target = random.standard_normal((2, 10))
    found = cohort_effects(0.5 + source[:, None] + target, np.ones((10, 10)))
    assert_allclose(found[0], source - source.mean())
    assert_allclose(found[1], target - target.mean())


def test_a_cohort_factor_is_tested_with_one_number_a_cohort() -> None:
    random = np.random.default_rng(6)
    effect = random.standard_normal(26)
    told = permute_cohort_factor(effect, effect + random.standard_normal(26), [], np.ones(26), random, 999)
    assert told.p_value < 0.01
    small = [
        permute_cohort_factor(effect, random.standard_normal(26), [], np.ones(26), random, 99).p_value <= 0.05
        for _ in range(200)
    ]
    assert 3 <= sum(small) <= 20  # 10 expected; outside with a chance of 0.5 %


def rejections(design: MatrixDesign, factor: str, matrices: int) -> dict[str, int]:
    counts = {"p_qap": 0, "p_value": 0}
    for seed in range(matrices):
        matrix = simulate_matrix(design, seed)
        weight = np.isfinite(matrix.c_index).astype(float)
        random = np.random.default_rng(seed)
        found = permute_pair_factor(matrix.c_index, matrix.factors[factor], [], weight, random, 99)
        for name in counts:
            counts[name] += getattr(found, name) <= 0.05
    return counts


def test_qap_has_the_right_size_where_nothing_transfers() -> None:
    counts = rejections(MatrixDesign(cohorts=14, transfer=False), "distance", 100)
    assert 1 <= counts["p_qap"] <= 11  # 5 expected; outside with a chance below 2 %
    assert counts["p_value"] <= counts["p_qap"]


def test_sources_that_are_alike_deceive_qap_but_not_the_strictest_permutation() -> None:
    counts = rejections(MatrixDesign(cohorts=20, transfer=False, alike=True), "distance", 60)
    assert counts["p_qap"] >= 9  # 3 expected
    assert counts["p_value"] <= 8
