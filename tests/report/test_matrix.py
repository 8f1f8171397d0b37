"""The matrix of a paper says what the page's matrix says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_results import ARCHITECTURE, ENCODER, FEW_EVENTS, HALF_FAILED, NO_EVENT, write_results
from PIL import Image

from cropkt.report.headline import MARKS, picks
from cropkt.report.matrix import cell_number, column_names, draw_matrix
from cropkt.report.order import colour_reach
from cropkt.report.read import ResultTables, read_tables
from cropkt.report.style import DPI, TWO_COLUMNS
from cropkt.transfer.store import ResultsFolder

CODES = ["blca", "cesc", "sarc", NO_EVENT, FEW_EVENTS, HALF_FAILED]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> ResultTables:
    out = write_results(tmp_path_factory.mktemp("results"), CODES, patients=40).out
    return read_tables(ResultsFolder(out, ENCODER, ARCHITECTURE))


def test_numbers_are_written_alike() -> None:
    assert [cell_number(value) for value in (0.874, 0.0, 0.996, 1.0, np.nan)] == [".87", ".00", "1.00", "1.00", ""]


def test_a_few_cells_at_the_ends_do_not_stretch_the_colours() -> None:
    random = np.random.default_rng(0)
    cells = random.uniform(0.4, 0.62, (26, 26))
    assert colour_reach(cells) == 0.15
    cells[0, :5] = 1.0
    cells[1, :5] = np.nan
    assert colour_reach(cells) == 0.15
    assert colour_reach(np.full((2, 2), np.nan)) == 0.15
    assert colour_reach(np.array([[0.1, 0.9]])) == 0.4


def test_the_picture_has_each_number_mark_and_column_of_the_tables(tables: ResultTables, tmp_path: Path) -> None:
    path = draw_matrix(tables, tmp_path / "matrix.png", title="Title", subtitle="study made up")
    with Image.open(path) as picture:
        assert picture.width <= TWO_COLUMNS * DPI
    drawing = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert path.with_suffix(".pdf").is_file()
    patients, events = tables.pairs.xs("blca", level="target")[["n_patients", "n_events"]].max()
    assert f"BLCA {patients:.0f}/{events:.0f}" in column_names(tables)
    for name in column_names(tables):
        assert f">{name}</text>" in drawing
    assert ">pan-cancer networks</text>" in drawing
    values = tables.matrix_of_all("c_index_pooled").astype(float).to_numpy().ravel()
    expected = pd.Series([cell_number(value) for value in values if np.isfinite(value)]).value_counts()
    for number, count in expected.items():
        assert drawing.count(f">{number}</text>") >= count, number
    states = pd.concat([tables.pairs["state"], tables.beyond_cohorts["state"]]).value_counts()
    for state in ("cannot tell", "failed", "worse than chance"):
        # Once more in the key, which is one text.
        assert drawing.count(f">{MARKS[state]}</text>") == states.get(state, 0), state
    assert "too few events to tell" in drawing


def test_a_number_that_cannot_be_relied_on_has_no_colour(tables: ResultTables) -> None:
    relied = tables.relied_on()
    assert relied[FEW_EVENTS].isna().all()
    assert tables.matrix("c_index_pooled")[FEW_EVENTS].notna().any()
    assert relied.loc["blca", "cesc"] == tables.pairs.loc[("blca", "cesc"), "c_index_pooled"]


def test_each_target_is_told_which_source_to_take(tables: ResultTables) -> None:
    found = {pick.target: pick for pick in picks(tables)}
    choice = tables.choice.set_index(["method", "target"])
    honest, own = choice.loc[("honest", "cesc")], choice.loc[("self", "cesc")]
    assert found["cesc"].source in set(honest["sources"])
    assert found["cesc"].found.startswith(f"{honest['c_index_pooled']:.2f} ({honest['interval_lower']:.2f} to ")
    assert found["cesc"].own.startswith(f"{own['c_index_pooled']:.2f} (")
    assert found[FEW_EVENTS].answer == "too few events to tell" or np.isfinite(
        choice.loc[("honest", FEW_EVENTS)]["interval_lower"]
    )
    told = {"q_home": 0.01, "q_self": 0.01, "difference_self": 0.1}
    answers = [
        _answer_with(tables, **told),
        _answer_with(tables, **{**told, "q_home": 0.2}),
        _answer_with(tables, **{**told, "q_home": 0.2, "q_self": 0.2}),
        _answer_with(tables, q_home=0.9, q_self=0.9, difference_self=-0.1),
        _answer_with(tables, interval_lower=np.nan),
        _answer_with(tables, difference_self=np.nan),
    ]
    assert answers == [
        "take it: better than anything this cohort can train at home",
        "better than the own model, not than a Cox model of mean features",
        "not shown to be better than the own model",
        "keep the own model",
        "too few events to tell",
        "no own model to compare with",
    ]


def _answer_with(tables: ResultTables, **values: float) -> str:
    from dataclasses import replace

    honest = (tables.choice["method"] == "honest") & (tables.choice["target"] == "cesc")
    choice = tables.choice.copy()
    for name, value in values.items():
        choice.loc[honest, name] = value
    return next(pick.answer for pick in picks(replace(tables, choice=choice)) if pick.target == "cesc")
