"""Counting discoveries against the truth."""

import numpy as np
import pandas as pd
import pytest

from cropkt.experiments.sweep.false_discoveries import calibration_table, false_discovery_table, power_table

PAIRS = pd.DataFrame(
    [
        # seed, n_events, q_chance, verdict, c_index_true
        (1, 30, 0.01, "worth borrowing", 0.60),
        (1, 30, 0.01, "better than chance", 0.50),
        (1, 30, 0.99, "worse than chance", 0.50),
        (1, 30, 0.20, "not shown", 0.60),
        (1, 3, np.nan, "cannot tell", 0.60),
        (2, 8, 0.90, "not shown", 0.50),
        (2, 8, 0.99, "worse than chance", 0.30),
    ],
    columns=["seed", "n_events", "q_chance", "verdict", "c_index_true"],
)


def test_false_discoveries_are_claims_in_a_direction_that_was_not_planted() -> None:
    table = false_discovery_table(PAIRS).set_index("seed")
    columns = ["judged", "better", "false_better", "worse", "false_worse", "proportion_better", "proportion_worse"]
    assert table.loc[1, columns].tolist() == [4, 2, 1, 1, 1, 0.5, 1.0]
    assert table.loc[2, columns].tolist() == [2, 0, 0, 1, 0, 0.0, 0.0]


def test_power_counts_helpful_pairs_by_events_and_those_that_cannot_be_judged_as_missed() -> None:
    table = power_table(PAIRS).set_index("events")
    assert table["pairs"].tolist() == [1, 2]
    assert table[["better", "transfers", "worth_borrowing"]].to_numpy().tolist() == [[0.0] * 3, [0.5] * 3]


def test_calibration_is_told_by_target_over_its_sources() -> None:
    pair = {"mode": "transfer", "target": "acc", "horizon": 730.0, "survival_observed": 0.6}
    pair |= {"survival_observed_error": 0.1}
    pairs = [pair | {"survival_predicted": s, "calibration_p": p} for s, p in ((0.6, 0.5), (0.8, 0.01))]
    pairs += [pair | {"survival_predicted": np.nan, "calibration_p": np.nan, "mode": "self"}]
    row = calibration_table(pd.DataFrame(pairs)).iloc[0]
    assert (row["years"], row["lowest"], row["highest"], row["refused"]) == (2.0, 0.6, 0.8, 0.5)
    assert row["errors_away"] == pytest.approx(1.0)
