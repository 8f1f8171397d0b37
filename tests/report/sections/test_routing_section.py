"""What the report says of routers, against gates and C-indices made up by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.report.sections.routing import (
    draw_routing,
    findings,
    fold_agreement,
    gate_summary,
    gates_against_transfer,
    section_body,
)

EXPERTS = ["acc", "uvm", "brca", "lung"]


def gates(by_fold: list[list[float]]) -> pd.DataFrame:
    """Two patients a fold with these probabilities; the two largest are the gates."""
    rows = []
    for fold, probabilities in enumerate(by_fold):
        lowest = sorted(probabilities)[-2]
        for patient in range(2):
            for expert, value in zip(EXPERTS, probabilities, strict=True):
                gate = value if value >= lowest else 0.0
                rows.append(("acc", f"p{fold}{patient}", fold, expert, gate, value))
    return pd.DataFrame(rows, columns=["target", "patient_id", "fold", "expert", "gate", "probability"])


GATES = gates([[0.1, 0.6, 0.2, 0.1], [0.1, 0.4, 0.4, 0.1]])
PAIRS = pd.DataFrame({"target": "acc", "source": EXPERTS, "c_index_pooled": [0.6, 0.8, 0.7, 0.5]})
PAIRS = PAIRS.assign(interval_lower=PAIRS["c_index_pooled"] - 0.2, interval_upper=PAIRS["c_index_pooled"] + 0.1)


def methods() -> pd.DataFrame:
    rows = [("self", 0.6, np.nan, np.nan, False), ("honest", 0.7, 0.1, 0.2, False), ("roupkt", 0.75, 0.15, 0.03, True)]
    table = pd.DataFrame(rows, columns=["method", "c_index_pooled", "difference_self", "p_self", "tuned"])
    table = table.assign(target="acc", n_events=12, folds=2, encoder="e", architecture="abmil")
    return table.assign(interval_lower=table["c_index_pooled"] - 0.1, interval_upper=table["c_index_pooled"] + 0.1)


def test_experts_are_summed_up_over_patients_and_folds() -> None:
    found = gate_summary(GATES, PAIRS).set_index("expert")
    assert list(found.index[:2]) == ["uvm", "brca"]
    assert found.loc["uvm", ["probability", "lowest", "highest", "chosen"]].tolist() == pytest.approx(
        [0.5, 0.4, 0.6, 1]
    )
    assert found.loc["acc", "chosen"] == 0
    assert found.loc["uvm", "n_patients"] == 4
    assert found.loc["uvm", ["interval_lower", "interval_upper"]].tolist() == pytest.approx([0.6, 0.9])
    assert found["c_index_pooled"].to_dict() == dict(zip(EXPERTS, [0.6, 0.8, 0.7, 0.5], strict=True))


def test_folds_agree_when_they_rank_experts_alike() -> None:
    assert fold_agreement(gates([[0.1, 0.2, 0.3, 0.4]] * 3)) == pytest.approx(1)
    assert fold_agreement(gates([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])) == pytest.approx(-1)
    assert np.isnan(fold_agreement(gates([[0.1, 0.2, 0.3, 0.4]])))


def test_trust_is_held_against_transfer_without_the_own_model() -> None:
    summary = gate_summary(GATES, PAIRS)
    assert gates_against_transfer(summary, "acc") == pytest.approx(1)
    own_first = summary.assign(probability=summary["probability"].where(summary["expert"] != "acc", 9.0))
    assert gates_against_transfer(own_first, "acc") == pytest.approx(1)
    assert np.isnan(gates_against_transfer(summary[summary["expert"].isin(["acc", "uvm"])], "acc"))


def test_findings_give_the_differences() -> None:
    text = " ".join(findings("acc", methods(), GATES, PAIRS))
    assert "ROUPKT reaches 0.750 (0.650 to 0.850)" in text
    assert "own model the difference is +0.150 (p 0.030)" in text
    assert "chosen on training patients the difference is +0.050" in text


def test_the_section_holds_table_and_pictures_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "routing.png"
    draw_routing("acc", methods(), GATES, PAIRS).savefig(path)
    body = section_body(methods(), GATES, PAIRS, {"acc": path})
    assert body.count("data:image/png;base64,") == 1
    assert "http" not in body
    assert "<td>0.750</td>" in body
    assert 'id="routing-acc"' in body
    assert "ROUPKT" in body
