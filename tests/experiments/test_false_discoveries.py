"""Counting discoveries against the truth."""

import numpy as np
import pandas as pd

from cropkt.experiments.false_discoveries import false_discovery_table, power_table

PAIRS = pd.DataFrame(
    [
        # seed, c_index_pooled, n_events, q_chance, c_index_true
        (1, 0.70, 30, 0.01, 0.60),
        (1, 0.70, 30, 0.01, 0.50),
        (1, 0.30, 30, 0.01, 0.50),
        (1, 0.60, 30, 0.20, 0.60),
        (1, 0.90, 3, np.nan, 0.60),
        (2, 0.55, 8, 0.90, 0.50),
    ],
    columns=["seed", "c_index_pooled", "n_events", "q_chance", "c_index_true"],
)


def test_false_discoveries_are_those_called_better_where_nothing_was_planted() -> None:
    table = false_discovery_table(PAIRS).set_index("seed")
    assert table.loc[1].to_dict() == {"judged": 4, "called": 2, "false": 1, "proportion": 0.5}
    assert table.loc[2].to_dict() == {"judged": 1, "called": 0, "false": 0, "proportion": 0.0}


def test_power_counts_helpful_pairs_by_events_and_those_that_cannot_be_judged_as_missed() -> None:
    table = power_table(PAIRS).set_index("events")
    assert table["pairs"].tolist() == [1, 2]
    assert table["power"].tolist() == [0.0, 0.5]
