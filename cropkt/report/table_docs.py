"""docs/tables.md: every column of every stored table, with unit and meaning, from the rows' own declarations.

`python -m cropkt.report.table_docs` writes it.
"""

from pathlib import Path

from cropkt.factors.catalogue import COHORT_FACTORS, PAIR_FACTORS, Factor
from cropkt.factors.columns import ANALYSIS_TABLES, AnalysisTable
from cropkt.files import atomic_path
from cropkt.rivals.rows import CURVE
from cropkt.routing.rows import FOLD_GATES, FOLD_PREDICTIONS
from cropkt.transfer.columns import Table
from cropkt.transfer.rows import CHOICE, FOLDS, GATES, PAIRS, PREDICTIONS, REPEATS, ROUTING, STALE

TABLES = (PAIRS, FOLDS, CHOICE, REPEATS, STALE, PREDICTIONS, ROUTING, GATES, FOLD_PREDICTIONS, FOLD_GATES, CURVE)
PATH = Path("docs") / "tables.md"
_HEAD = """# Tables

Made by `python -m cropkt.report.table_docs`; do not edit. Paths are relative to the results folder. The Parquet files
say the same of each column: `pyarrow.parquet.read_schema(path).field(name).metadata`. An empty unit is a text, a count
or a pure number. A value that is unknown is null (NaN).
"""


def tables_page() -> str:
    """The text of docs/tables.md."""
    of_analysis = (_analysis_section(table) for table in ANALYSIS_TABLES.values())
    return "\n".join([_HEAD, *(_section(table) for table in TABLES), _factors(), *of_analysis])


def _section(table: Table) -> str:
    lines = [f"## {table.path}", "", f"One row per {table.row}.", "", "| column | type | unit | meaning |"]
    lines.append("|---|---|---|---|")
    for column in table.columns:
        lines.append(f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning} |")
    return "\n".join([*lines, ""])


def _factors() -> str:
    lines = [
        "## factors_cohort.parquet, factors_pair.parquet",
        "",
        "One row per cohort, and per ordered pair of cohorts.",
    ]
    lines += ["These are the columns that are tested as factors (docs/factors.md has the others).", ""]
    lines += ["Circular ones use outcomes of the very patients the C-index is measured on, and have no q-value.", ""]
    lines += ["| column | table | needs | circular | meaning |", "|---|---|---|---|---|"]
    for factor in (*COHORT_FACTORS, *PAIR_FACTORS):
        lines.append(f"| `{factor.name}` | {factor.level} | {factor.needs} | {_said(factor)} | {factor.label} |")
    return "\n".join([*lines, ""])


def _analysis_section(table: AnalysisTable) -> str:
    lines = [f"## {table.path}", "", f"One row per {table.row}.", "", "| column | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in table.columns.items()]
    return "\n".join([*lines, ""])


def _said(factor: Factor) -> str:
    return ("as the target's" if factor.level == "cohort" else "yes") if factor.circular else ""


if __name__ == "__main__":
    with atomic_path(PATH) as temporary:
        temporary.write_text(tables_page(), encoding="utf-8")
