"""False discovery control by question and direction, verdicts, confounders."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cropkt.transfer.judgement.names import MEANING, Verdict
from cropkt.transfer.judgement.verdicts import FEWEST_EVENTS, judge, judge_methods
from cropkt.transfer.significance import at_home, compared


def pair(**changes: object) -> dict:
    row = {"source": "a", "target": "b", "encoder": "e", "architecture": "abmil", "mode": "transfer", "status": "ok"}
    row |= {"c_index_pooled": 0.7, "interval_lower": 0.62, "n_events": 30, "n_comparable": 500, "p_chance": 0.001}
    for name in compared():
        row |= {f"difference_{name}": 0.1, f"p_{name}": 0.001}
    return {**row, **changes}


def baseline(name: str, **changes: object) -> dict:
    nothing = {f"{kind}_{other}": np.nan for other in compared() for kind in ("difference", "p")}
    return pair(source=name, mode=name, **nothing) | changes


VERDICTS = {
    "worth borrowing": pair(),
    "transfers": pair(difference_mean_cox=-0.1),
    "better than chance": pair(difference_null=-0.1),
    "not shown": pair(p_chance=0.2),
    "worse than chance": pair(c_index_pooled=0.3),
    "cannot tell": pair(n_events=FEWEST_EVENTS - 1),
}


def verdict(*rows: dict) -> str:
    return str(judge(pd.DataFrame(list(rows)))["verdict"][0])


@pytest.mark.parametrize("expected", VERDICTS)
def test_verdicts(expected: str) -> None:
    assert verdict(VERDICTS[expected]) == expected


def test_every_verdict_is_reached_named_and_explained() -> None:
    assert set(VERDICTS) == set(Verdict) == set(MEANING)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"difference_self": -0.1}, "transfers"),
        ({"p_self": 0.2}, "transfers"),
        ({"difference_random": -0.3, "difference_size": -0.3, "difference_site": -0.3}, "worth borrowing"),
        ({"p_null": 0.2}, "better than chance"),
        ({"p_null": np.nan, "difference_null": np.nan}, "better than chance"),
    ],
)
def test_what_a_verdict_asks_for(changes: dict, expected: str) -> None:
    assert verdict(pair(**changes)) == expected


def test_what_the_target_cannot_train_is_nothing_to_beat_and_what_was_not_measured_is() -> None:
    without = pair(difference_mean_cox=np.nan, p_mean_cox=np.nan)
    assert verdict(without) == "transfers", "the Cox model was not measured"
    assert verdict(without, baseline("mean_cox", status="failed")) == "transfers"
    assert verdict(without, baseline("mean_cox", status="no comparable pair")) == "worth borrowing"
    nothing = pair(**{f"{kind}_{name}": np.nan for kind in ("difference", "p") for name in at_home()})
    untrained = [baseline(name, status="no comparable pair") for name in at_home()]
    assert verdict(nothing, *untrained) == "transfers", "nothing at home was compared"


@pytest.mark.parametrize(("name", "expected"), [("null", "better than chance"), ("mean_cox", "transfers")])
def test_a_table_without_a_comparison_shows_no_more_than_one_in_which_it_is_unknown(name: str, expected: str) -> None:
    row = pair()
    for column in (f"p_{name}", f"difference_{name}"):
        del row[column]
    assert verdict(row) == expected


def test_q_values_are_those_of_benjamini_and_hochberg_over_the_pairs_that_count() -> None:
    table = pd.DataFrame(
        [
            pair(p_chance=0.01),
            pair(p_chance=0.02),
            pair(p_chance=0.04),
            pair(p_chance=0.9),
            pair(p_chance=0.001, mode="self"),
            pair(p_chance=0.0001, n_comparable=3),
            pair(p_chance=0.03, architecture="mean"),
        ]
    )
    judged = judge(table)
    np.testing.assert_allclose(judged["q_chance"], [0.02, 0.02, 0.08 / 3, 0.45, np.nan, np.nan, 0.015])
    assert np.isnan(judged["p_chance"][5])
    assert judged["verdict"][4] is None or pd.isna(judged["verdict"][4])


def test_pairs_that_are_better_do_not_help_to_call_others_worse() -> None:
    """Ten clear discoveries upwards, and one pair below chance at p = 0.04: two-sided q = 0.04, one-sided q = 0.22."""
    table = [pair(p_chance=1e-6) for _ in range(10)] + [pair(p_chance=0.04, c_index_pooled=0.4)]
    judged = judge(pd.DataFrame(table))
    assert judged["verdict"][10] == "not shown"
    assert judged["q_below_chance"][10] == pytest.approx(0.02 * 11)


def test_a_verdict_that_asks_for_two_things_has_one_q_value_of_the_larger_p() -> None:
    table = [pair(p_chance=p, p_null=other) for p, other in ((0.001, 0.03), (0.03, 0.001), (0.2, 0.001))]
    judged = judge(pd.DataFrame(table))
    np.testing.assert_allclose(judged["q_transfers"], [0.0225, 0.0225, 0.1])


def test_a_confounder_that_reaches_the_interval_alone_is_named() -> None:
    found = judge(
        pd.DataFrame(
            [
                pair(),
                pair(interval_lower=0.55),
                pair(target="c"),
                baseline("project", c_index_pooled=0.6, p_chance=0.01),
                baseline("site", c_index_pooled=0.65, p_chance=0.01),
                baseline("site", target="c", c_index_pooled=0.65, p_chance=0.2),
                baseline("size", c_index_pooled=0.9, p_chance=0.01),
            ]
        )
    )
    assert found["confounded_by"][:3].tolist() == ["site", "project, site", ""]
    assert found["verdict"][0] == "worth borrowing"


def test_q_of_methods_leaves_out_the_own_model_and_the_oracle() -> None:
    nothing = {"difference_self": 0.1, "p_self": np.nan, "p_home": np.nan}
    rows = [{**nothing, "method": "self"}, {**nothing, "method": "oracle"}]
    rows += [{"method": "honest", "difference_self": 0.1, "p_self": 0.02, "p_home": 0.01}]
    rows += [{"method": "rank_average", "difference_self": -0.1, "p_self": 0.02, "p_home": 0.6}]
    table = pd.DataFrame([{**row, "encoder": "e", "architecture": "abmil"} for row in rows])
    judged = judge_methods(table)
    np.testing.assert_allclose(judged["q_self"], [np.nan, np.nan, 0.02, 0.99])
    np.testing.assert_allclose(judged["q_home"], [np.nan, np.nan, 0.02, 0.6])


def test_the_false_discovery_rate_holds_in_both_directions_where_half_of_the_pairs_are_null() -> None:
    """Half of the pairs truly above chance, half null: of what is called worse, all is false, so it must be rare."""
    random = np.random.default_rng(0)
    worse, false_better = [], []
    for _ in range(30):
        z = random.normal(size=200) + np.repeat([0.0, 4.0], 100)
        p = 2 * norm.sf(np.abs(z))
        table = pd.DataFrame(
            [pair(p_chance=value, c_index_pooled=0.5 + 0.01 * x) for value, x in zip(p, z, strict=True)]
        )
        called = judge(table)["verdict"]
        worse.append((called == "worse than chance").any())
        better = called.isin(["better than chance", "transfers", "worth borrowing"])
        false_better.append(better[:100].sum() / max(1, better.sum()))
    assert np.mean(worse) <= 0.1, "two-sided families call a null pair worse in every other table"
    assert np.mean(false_better) < 0.05
