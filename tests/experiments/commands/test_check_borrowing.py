"""One table over worlds, and the recommendation that cropkt predict tells."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.borrowing.advice.helps import probability_of_gain
from cropkt.experiments.commands import predict
from cropkt.experiments.commands.checks import borrowing
from cropkt.rivals.rows import CURVE, CurveRow
from cropkt.transfer.rows import ROUTING

TARGETS = ("acc", "uvm", "meso")


def write_curve(out: Path, worth: dict[str, float], targets: tuple[str, ...] = TARGETS) -> None:
    """Every method has its C-index on every target, but for what a target's number adds to all of them."""
    rows = [
        vars(CurveRow(target, "e", "abmil", method, "all", 0, 10.0, 40, 10, value + 0.01 * place))
        for place, target in enumerate(targets)
        for method, value in worth.items()
    ]
    CURVE.write(out / "curve.parquet", CURVE.frame(rows))


def test_methods_need_not_be_measured_on_the_same_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_curve(tmp_path / "one", {"borrowed": 0.7, "own_ridge": 0.65, "pan_abmil": 0.6})
    write_curve(tmp_path / "two", {"borrowed": 0.7, "own_ridge": 0.69})
    table = tmp_path / "table.md"
    worlds = [f"rna={tmp_path / 'one'}", f"rna={tmp_path / 'two'}"]
    assert borrowing.main([*worlds, "--out", str(table)]) == 0
    lines = {line.split(" | ")[0].strip("| "): line for line in table.read_text().splitlines()}
    assert "rna, all, 6 targets" in lines["method"]
    assert lines["borrowed"] == "| borrowed | .710 |"
    assert lines["own_ridge"].startswith("| own_ridge | .680; +.030 (.")
    assert lines["pan_abmil"] == "| pan_abmil | .610; +.100 (.100 to .100), 3 targets |"
    assert lines["best own method, by hindsight"].startswith("| best own method, by hindsight | +.030 (")
    assert table.read_text() in capsys.readouterr().out


def test_routers_of_the_same_folder_are_rows_of_the_table(tmp_path: Path) -> None:
    """roupkt is known for two of three targets, and a target that the curve lacks counts for nothing."""
    write_curve(tmp_path / "out", {"borrowed": 0.7, "own_ridge": 0.65})
    rows = [("acc", "roupkt", 0.66), ("uvm", "roupkt", 0.67), ("chol", "roupkt", 0.1), ("acc", "borrowed", 0.2)]
    rows += [("acc", "oracle", 0.9)]
    numbers = {"sources": (), "c_index_mean": 0.5, "standard_error": 0.1, "interval_lower": 0.4, "interval_upper": 0.9}
    kind = {"encoder": "e", "architecture": "abmil", "n_events": 9}
    table = [{"target": t, "method": m, "c_index_pooled": value, **numbers, **kind} for t, m, value in rows]
    ROUTING.write(tmp_path / "out" / "routing.parquet", ROUTING.filled(pd.DataFrame(table)))
    shown = tmp_path / "table.md"
    assert borrowing.main([f"rna={tmp_path / 'out'}", "--out", str(shown)]) == 0
    lines = {line.split(" | ")[0].strip("| "): line for line in shown.read_text().splitlines()}
    assert lines["borrowed"] == "| borrowed | .710 |"
    assert lines["route: roupkt"] == "| route: roupkt | .665; +.040 (.040 to .040), 2 targets |"
    assert "oracle" not in shown.read_text()


def test_claims_are_counted_folder_by_folder(tmp_path: Path) -> None:
    """Over own_ridge: pan_cox gains in one of three folders, .03 in each of three targets, and else nothing."""
    for number, gain in enumerate((0.03, 0.0, -0.03)):
        write_curve(tmp_path / str(number), {"borrowed": 0.6, "own_ridge": 0.6, "pan_cox": 0.6 + gain})
    write_curve(tmp_path / "3", {"borrowed": 0.6, "own_ridge": 0.6})
    shown = tmp_path / "claims.md"
    worlds = [f"none={tmp_path / str(number)}" for number in range(4)]
    assert borrowing.main([*worlds, "--over", "own_ridge", "--out", str(shown)]) == 0
    lines = {line.split(" | ")[1]: line for line in shown.read_text().splitlines()[2:]}
    assert lines["pan_cox"] == "| none, all | pan_cox | 3 | +.000 | +.030 | 1 of 3 | .008 to .906 |"
    assert lines["borrowed"].startswith("| none, all | borrowed | 4 | +.000 | +.000 | 0 of 4 | .000 to .6")
    assert borrowing.main([*worlds, "--over", "own_rigde"]) == 2


def test_predict_tells_what_recommend_has_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "routing" / "uni" / "abmil" / "acc"
    model.mkdir(parents=True)
    predict._tell_recommendation(model, "uni", "acc", tmp_path / "risks.csv")
    assert "cropkt recommend --target acc" in capsys.readouterr().out
    stored = tmp_path / "borrowing" / "uni" / "recommendations" / "acc.json"
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps({"target": "acc", "sentences": ["Borrow.", "It helps.", "More."]}))
    predict._tell_recommendation(model, "uni", "acc", tmp_path / "risks.csv")
    assert "Borrow. It helps. All of it: " in capsys.readouterr().out
    assert json.loads((tmp_path / "risks.recommendation.json").read_text())["target"] == "acc"


def test_gains_of_a_method_are_those_of_its_own_draws() -> None:
    """Borrowed on a target where the method was not measured counts for nothing."""
    measured = [("acc", "borrowed", 0.8), ("acc", "pan_cox", 0.7), ("uvm", "borrowed", 0.1)]
    rows = [vars(CurveRow(t, "e", "abmil", m, "all", 0, 9.0, 40, 9, value)) for t, m, value in measured]
    found = borrowing._rows("world", pd.DataFrame(rows).assign(study="s"), "c_index")
    shown = {row["method"]: row["shown"] for row in found}
    assert shown["pan_cox"] == ".700; +.100, 1 targets"


def test_what_was_said_stands_beside_what_was_seen(tmp_path: Path) -> None:
    """Two draws without a signal, of which one gains; three with a strong one, all gain: half, and all."""
    rows = []
    for number, (signal, gain) in enumerate([(0.0, 0.05), (0.0, -0.05), (3.0, 0.05), (3.0, 0.05), (3.0, 0.05)]):
        of_draw = CurveRow("acc", "e", "abmil", "borrowed", "20", number, 5.0, 40, 10, 0.6 + gain, np.nan, 1.0, signal)
        rows += [vars(of_draw), vars(replace(of_draw, method="own_ridge", c_index=0.6, signal=np.nan))]
    CURVE.write(tmp_path / "out" / "curve.parquet", CURVE.frame(rows))
    table = tmp_path / "table.md"
    assert borrowing.main([f"rna={tmp_path / 'out'}", "--out", str(table)]) == 0
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.read_text().splitlines()]
    (world,) = (line for line in lines if line[0] == "rna")
    strong = borrowing._number(probability_of_gain(1.0, 3.0))
    said = borrowing._number((2 * 0.5 + 3 * probability_of_gain(1.0, 3.0)) / 5)
    assert world[1:4] == ["5", said, ".800"]
    assert world[6] == ".500 (1)"
    (coin,) = (line for line in lines if line[0] == ".450 to .550")
    assert coin[1:] == ["2", ".500", ".500", "+.000"]
    assert ["3", strong, "1.000", "+.050"] in [line[1:] for line in lines]


def test_a_table_without_the_signal_says_nothing_of_gains(tmp_path: Path) -> None:
    write_curve(tmp_path / "one", {"borrowed": 0.7, "own_ridge": 0.65})
    assert borrowing.main([f"one={tmp_path / 'one'}", "--out", str(tmp_path / "table.md")]) == 0
    assert "said" not in (tmp_path / "table.md").read_text()
