"""Orders of the matrix: every cohort once, planted clusters found, groups of the registry kept together."""

import numpy as np
import pandas as pd

from cropkt.cohorts import COHORTS, cohort_info
from cropkt.report.order import cluster_orders, matrix_orders


def planted(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sources of three kinds, shuffled; targets differ in how easy they are by far more than the kinds do."""
    kind = random.permutation(np.repeat([0, 1, 2], 6))
    easy = random.uniform(0.2, 0.8, size=18)
    values = easy + 0.05 * (kind[:, None] == kind[None, :]) + 0.005 * random.normal(size=(18, 18))
    return values, kind


def test_clusters_put_planted_kinds_together_whatever_the_difficulty_of_targets() -> None:
    values, kind = planted(np.random.default_rng(4))
    values[np.random.default_rng(5).random(values.shape) < 0.1] = np.nan
    for order in cluster_orders(values):
        assert sorted(order) == list(range(18))
        assert np.count_nonzero(np.diff(kind[order])) == 2


def test_orders_keep_groups_whole_and_hold_every_cohort_once() -> None:
    codes = [*COHORTS, "mine"]
    orders = matrix_orders(pd.DataFrame(np.nan, index=codes, columns=codes))
    for order in orders.values():
        assert sorted(order.rows) == sorted(order.columns) == list(range(27))
    assert [name for name, _ in orders["registry"].groups] == ["large cohorts", "rare cohorts", "own cohorts"]
    start = 0
    for name, count in orders["group"].groups:
        members = orders["group"].rows[start : start + count]
        assert {cohort_info(codes[member]).group for member in members} == {name}
        start += count
    assert start == 27
    assert len(orders["group"].groups) == len({cohort_info(code).group for code in codes})


def test_one_cohort_and_nothing_known_are_orders_too() -> None:
    assert cluster_orders(np.array([[np.nan]])) == ([0], [0])
    assert sorted(cluster_orders(np.full((4, 4), np.nan))[0]) == [0, 1, 2, 3]
