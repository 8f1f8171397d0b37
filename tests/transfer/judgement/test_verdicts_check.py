"""The simulation of whole matrices: its truth is true, and claims are counted against it."""

import pandas as pd
import pytest

from cropkt.seeds import generator
from cropkt.survival.concordance import score_all
from cropkt.transfer.judgement.verdicts_check import Design, _target, false_claims, simulated_pairs, verdict_power_table


def test_sources_share_their_starts_noise_and_rank_as_planted() -> None:
    design = Design("large", (0.4, 0.4), start=0.2)
    found = _target("t", 400, design, 0.4, generator(0, "test"))
    c_index = {
        name: score_all(found.time, found.event, risk, risk == risk).c_index for name, risk in found.risk.items()
    }
    assert found.event.mean() == pytest.approx(1 / 2, abs=0.1)
    assert 0.5 < c_index["null"] < c_index["s0"]
    assert c_index["s0"] == pytest.approx(c_index["s5"], abs=0.05)


def test_false_claims_are_counted_by_study() -> None:
    rows = [
        (0, "transfers", 0.4, 0.0, 0.3),
        (0, "worth borrowing", 0.4, 0.4, 0.5),
        (0, "worse than chance", 0.0, 0.0, 0.0),
        (1, "not shown", 0.4, 0.0, 0.3),
    ]
    pairs = pd.DataFrame(rows, columns=["study", "verdict", "truth", "truth_start", "truth_home"])
    claims = {"better than chance": 0, "worse than chance": 0.5, "transfers": 0.25, "worth borrowing": 0.5}
    assert false_claims(pairs) == claims


def test_what_is_much_better_than_everything_at_home_is_called_so_and_a_mere_start_is_not() -> None:
    better = simulated_pairs(Design("better", (0.9, 0.9), own=0.0, cox=0.0), 1, 0)
    power = verdict_power_table(better)
    assert power["worth_borrowing"].iloc[-1] > 0.7
    start = simulated_pairs(Design("start", (0.5, 0.5), start=0.5), 1, 0)
    assert (start["verdict"] == "better than chance").any()
    assert false_claims(start)["transfers"] == 0
