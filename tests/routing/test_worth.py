"""Summaries over targets, against numbers worked out by hand."""

import pandas as pd
import pytest

from cropkt.routing.worth import group_shares, method_summary, paired_differences

METHODS = pd.DataFrame(
    [
        ("one", "acc", "self", 0.5),
        ("one", "acc", "roupkt", 0.7),
        ("one", "uvm", "self", 0.6),
        ("one", "uvm", "roupkt", 0.6),
        ("two", "acc", "self", 0.7),
        ("two", "acc", "roupkt", 0.8),
    ],
    columns=["study", "target", "method", "c_index_pooled"],
)


def test_a_method_is_averaged_over_targets() -> None:
    found = method_summary(METHODS).set_index("method").loc["self"]
    assert (found["mean"], found["targets"]) == (pytest.approx(0.6), 3)
    assert found["upper"] - found["mean"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)  # t with 2 degrees


def test_differences_are_paired_by_target_and_study() -> None:
    (found,) = paired_differences(METHODS, rivals=("self", "honest")).to_dict("records")
    assert found["against"] == "self"
    assert found["mean"] == pytest.approx(0.1)
    assert found["upper"] - found["mean"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)
    assert found["ahead"] == pytest.approx(2 / 3)


def test_gate_mass_on_the_group_leaves_the_own_model_out() -> None:
    gates = pd.DataFrame({"target": "acc", "expert": ["acc", "a", "b", "c", "d"], "gate": [9.0, 3.0, 1.0, 0.0, 0.0]})
    truth = pd.DataFrame(
        {
            "target": "acc",
            "source": ["acc", "a", "b", "c", "d"],
            "same_group": [True, True, False, False, False],
            "c_index_true": [0.9, 0.8, 0.7, 0.6, 0.5],
        }
    )
    (found,) = group_shares(gates, truth).to_dict("records")
    assert (found["group_share"], found["equal_share"]) == (0.75, 0.25)
    assert found["rank_correlation"] == pytest.approx(0.9487, abs=1e-4)  # c and d are tied
