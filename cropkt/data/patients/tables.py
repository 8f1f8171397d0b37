"""Tables as users have them: comma, tab or semicolon separated text, or Parquet; every cell as text, with its row."""

import csv
import io
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cropkt.data.text_files import TextFileError, check_regular_file, read_text

MOST_BYTES = 50_000_000
MOST_COLUMNS = 100_000
"""Clinical tables have some hundred columns; one that was joined to gene expression, some ten thousand."""
DELIMITERS = {".csv": ",;\t", ".tsv": "\t", ".txt": "\t,;"}
"""By suffix, the separators looked for in the header; the first one where it holds none of them."""
_SEPARATOR_LINE = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)
"""The first line that spreadsheets write, or want, where the separator is not that of the country."""
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True)
class TableRow:
    """One row: its 1-based line in the file (Parquet: the row, the first being 1) and its cells by column."""

    row: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """Column names in the file's order, and the rows that hold anything. An empty cell is ""."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path) -> Table:
    """Read a table. Lines before the header that begin with # are passed over, as cBioPortal writes them.

    Where cells are separated by semicolons, a number may have a comma for its point, as spreadsheets of most of Europe
    write both.
    Raises FileNotFoundError where there is none, TextFileError where it cannot be read as one.
    """
    suffix = path.suffix.lower()
    if suffix in SPREADSHEETS:
        check_regular_file(path, most_bytes=MOST_BYTES)
        raise TextFileError("is a spreadsheet", "save the sheet as CSV (UTF-8) and name that file")
    if suffix == ".parquet":
        return _read_parquet(path)
    return _read_text_table(read_text(path, most_bytes=MOST_BYTES), DELIMITERS.get(suffix, ",;\t"))


def _read_text_table(text: str, delimiters: str) -> Table:
    lines = io.StringIO(unicodedata.normalize("NFC", text), newline="")
    start = skipped = 0
    delimiter = ""
    while (line := lines.readline()).startswith("#") or (not delimiter and _SEPARATOR_LINE.fullmatch(line)):
        if said := _SEPARATOR_LINE.fullmatch(line):
            delimiter = said[1]
        start, skipped = lines.tell(), skipped + 1
    delimiter = delimiter or next((mark for mark in delimiters if mark in line), delimiters[0])
    lines.seek(start)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        _check_columns(columns)
        rows = []
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if delimiter == ";":
                stripped = [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in stripped]
            if any(stripped[len(columns) :]):
                reason = f"row {skipped + reader.line_num} has {len(cells)} cells, the header {len(columns)}"
                raise TextFileError(reason, f"put cells that hold {delimiter!r} in quotes")
            if any(stripped):
                padded = [*stripped, *[""] * (len(columns) - len(stripped))]
                rows.append(TableRow(skipped + reader.line_num, dict(zip(columns, padded, strict=False))))
    except csv.Error as error:
        reason = f"cannot be read after row {skipped + reader.line_num} ({error})"
        raise TextFileError(reason, "give a comma-separated table in UTF-8") from error
    return Table(columns, tuple(rows))


def _check_columns(columns: tuple[str, ...]) -> None:
    if len(columns) > MOST_COLUMNS:
        reason = f"has {len(columns):,} columns; at most {MOST_COLUMNS:,} are read"
        raise TextFileError(reason, "this seems to be another file; mend the path, or keep only what is needed")
    for name, times in Counter(columns).items():
        if name and times > 1:
            raise TextFileError(f"has two columns {name}", "remove or rename one")


def _read_parquet(path: Path) -> Table:
    check_regular_file(path, most_bytes=MOST_BYTES)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise TextFileError(f"is not a Parquet table ({error})", "write it again, or give a CSV") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    columns = tuple(str(name) for name in frame.columns)
    _check_columns(columns)
    cells = zip(*(map(_text, frame[name]) for name in frame.columns), strict=True)
    return Table(
        columns, tuple(TableRow(row, dict(zip(columns, of_row, strict=True))) for row, of_row in enumerate(cells, 1))
    )


def _text(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.15g}" if isinstance(value, float) else unicodedata.normalize("NFC", str(value).strip())
