"""The lines at the end of a sweep."""

from typing import Any

import pandas as pd

from cropkt.experiments.sweep.summary import summary

PAIRS = pd.DataFrame(
    [("self", "cannot tell"), ("transfer", "transfers"), ("transfer", "better than chance"), ("transfer", "not shown")],
    columns=["mode", "verdict"],
)


def target(
    code: str, sources: list[str], found: float, lower: float, upper: float, own: float, p: float
) -> list[dict[str, Any]]:
    nothing = float("nan")
    chosen = {"c_index_pooled": found, "interval_lower": lower, "interval_upper": upper}
    best = {"c_index_pooled": 0.99, "interval_lower": 0.9, "interval_upper": 1.0}
    against = {"difference_self": found - own, "p_self": p}
    return [
        {"target": code, "method": "self", "sources": [], "c_index_pooled": own, "p_self": nothing},
        {"target": code, "method": "honest", "sources": sources, **chosen, **against},
        {"target": code, "method": "oracle", "sources": ["best"] * 3, **best, **against},
    ]


def said(*targets: list[dict[str, Any]]) -> list[str]:
    return summary(PAIRS, pd.DataFrame([row for rows in targets for row in rows]))


ACC = target("acc", ["gbmlgg", "lung", "gbmlgg"], 0.837, 0.675, 0.927, 0.627, 0.04)


def test_the_source_chosen_on_training_patients_is_named_and_not_the_best_on_test_patients() -> None:
    assert said(ACC) == [
        "1 of 3 pairs between cohorts transfer, 1 more are better than chance",
        "for ACC take GBMLGG: .84 (.68 to .93), own model .63",
    ]


def test_a_worse_choice_a_missing_own_model_and_too_few_events() -> None:
    worse = target("brca", ["ucec"] * 3, 0.75, 0.68, 0.81, 0.80, 0.3)
    alone = target("uvm", ["skcm"] * 3, 1.0, 0.9, 1.0, float("nan"), float("nan"))
    few = target("prad", ["skcm"] * 3, 1.0, float("nan"), float("nan"), 0.5, float("nan"))
    assert said(worse, alone, few, ACC)[1:] == [
        "for ACC take GBMLGG: .84 (.68 to .93), own model .63",
        "for BRCA keep its own model: .80; UCEC .75 (.68 to .81)",
        "for UVM take SKCM: 1.00 (.90 to 1.00), own model unknown",
    ]


def test_a_source_no_better_than_a_guess_is_never_to_be_taken() -> None:
    alone = target("chol", ["acc"], 0.37, 0.19, 0.60, float("nan"), float("nan"))
    both = target("uvm", ["acc"], 0.45, 0.30, 0.60, 0.41, 0.6)
    own = target("meso", ["acc"], 0.45, 0.30, 0.60, 0.62, 0.2)
    assert set(said(alone, both, own)[1:]) == {
        "for CHOL nothing predicts: ACC .37 (.19 to .60), own model unknown",
        "for UVM nothing predicts: ACC .45 (.30 to .60), own model .41",
        "for MESO keep its own model: .62; ACC .45 (.30 to .60)",
    }


def test_pairs_worth_borrowing_transfer_too() -> None:
    pairs = pd.concat([PAIRS, pd.DataFrame([{"mode": "transfer", "verdict": "worth borrowing"}])])
    assert summary(pairs, pd.DataFrame(ACC))[0] == (
        "2 of 4 pairs between cohorts transfer, 1 more are better than chance"
    )


def test_there_are_ten_lines_at_most_the_clearest_first() -> None:
    many = [target(f"c{n:02d}", ["acc"], 0.7, 0.6, 0.8, 0.6, n / 100) for n in reversed(range(26))]
    found = said(*many)
    assert len(found) == 10
    assert [line[:11] for line in found[1:3]] == ["for C00 tak", "for C01 tak"]
    assert found[-1] == "18 more targets: report.html"


def test_without_pairs_between_cohorts_there_is_nothing_to_say() -> None:
    assert summary(PAIRS[PAIRS["mode"] == "self"], pd.DataFrame(columns=["target", "method"])) == []
