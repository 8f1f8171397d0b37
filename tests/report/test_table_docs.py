"""docs/tables.md and the Parquet files say what the rows' declarations say."""

import dataclasses
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cropkt.factors.analysis import Analysis
from cropkt.factors.columns import ANALYSIS_TABLES, AnalysisTable
from cropkt.report.table_docs import PATH, TABLES, tables_page
from cropkt.transfer.columns import Table, columns_of, row_from_json
from cropkt.transfer.rows import PAIRS, PairRow, Status

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / PATH).read_text(encoding="utf-8") == tables_page(), "run python -m cropkt.report.table_docs"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
def test_every_column_has_a_meaning_and_a_unit_where_there_is_one(table: Table) -> None:
    assert len(set(table.names)) == len(table.names)
    for column in table.columns:
        assert column.meaning
        assert column.meaning[-1] != "."
    assert {"seconds": "s", "time": "days"}.items() >= {
        (column.name, column.unit) for column in table.columns if column.name in ("seconds", "time")
    }


@pytest.mark.parametrize("table", ANALYSIS_TABLES.values(), ids=lambda table: table.name)
def test_a_table_of_an_analysis_has_the_columns_that_are_described(table: AnalysisTable) -> None:
    whole = pd.DataFrame({name: [0] for name in table.columns})
    table.check(whole)
    table.check(pd.DataFrame())
    for odd in (whole.assign(surprise=1), whole.drop(columns=list(table.columns)[-1])):
        with pytest.raises(ValueError, match=rf"{table.path}: declare or remove"):
            table.check(odd)


def test_every_table_of_an_analysis_is_described() -> None:
    tables = [field.name for field in dataclasses.fields(Analysis) if field.type is pd.DataFrame]
    assert tables == list(ANALYSIS_TABLES)


def test_a_file_carries_descriptions_units_and_types_even_where_nothing_is_known(tmp_path: Path) -> None:
    failed = PairRow("acc", "uvm", "uni2-h", "abmil", "transfer", status=Status.FAILED, reason="its worker died")
    PAIRS.write(tmp_path / "pairs.parquet", PAIRS.frame([vars(failed)]))
    schema = pq.read_schema(tmp_path / "pairs.parquet")
    assert schema.names == PAIRS.names
    assert schema.field("seconds").metadata[b"unit"] == b"s"
    assert b"Harrell" in schema.field("c_index_mean").metadata[b"description"]
    assert str(schema.field("n_events").type) == "int64"
    row = pd.read_parquet(tmp_path / "pairs.parquet").iloc[0]
    assert (row["status"], row["reason"]) == ("failed", "its worker died")
    assert row[["c_index_pooled", "n_events", "q_self"]].isna().all()


def test_a_name_that_is_no_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="no column c_idx"):
        PAIRS.frame([{"c_idx": 1.0}])


@pytest.mark.parametrize(
    "change", [{"n_events": "7"}, {"status": "splendid"}, {"source": 3}, {"extra": 1}, {"c_index_mean": True}]
)
def test_a_row_of_a_damaged_file_is_refused(change: dict) -> None:
    whole = vars(PairRow("acc", "uvm", "uni2-h", "abmil", "transfer", n_events=7, c_index_mean=0.5))
    assert row_from_json(PairRow, whole).n_events == 7
    with pytest.raises(ValueError):
        row_from_json(PairRow, whole | change)


def test_a_field_without_a_meaning_is_an_error() -> None:
    from dataclasses import make_dataclass

    with pytest.raises(TypeError, match="needs a type"):
        columns_of(make_dataclass("Row", [("value", float)]))
