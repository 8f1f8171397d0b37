"""Stored tables: their columns are the fields of row dataclasses, each with its unit and meaning.

A field `Annotated[float, Column("days", "time to event or censoring")]` is a column. The Parquet file says the same of
each column (metadata `unit` and `description`), and docs/tables.md is written from it (report/table_docs.py).
"""

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cropkt.files import atomic_path

Row = TypeVar("Row")

ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    np.float32: pa.float32(),
    int: pa.int64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[np.float32, ...]: pa.list_(pa.float32()),
}
"""How a field's type is stored; `X | None` is stored as X that may be null, a StrEnum as its text."""


@dataclass(frozen=True)
class Column:
    """A stored column: the unit of its values ("" for texts, counts and pure numbers), and their meaning."""

    unit: str
    meaning: str


@dataclass(frozen=True)
class TableColumn(Column):
    """A column with its name and the type it is stored in."""

    name: str
    type: pa.DataType

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers, and not texts, lists or yes and no."""
        return bool(pa.types.is_integer(self.type) or pa.types.is_floating(self.type))

    def renamed(self, name: str, meaning: str) -> "TableColumn":
        """The same kind of column under another name."""
        return dataclasses.replace(self, name=name, meaning=meaning)


@dataclass(frozen=True)
class Table:
    """A stored table. path: relative to the results folder, with {placeholders}. row: there is one row per this.

    first: its columns, `further` those that come after them and are known only when they are asked for, because they
    depend on what is registered.
    """

    path: str
    row: str
    first: tuple[TableColumn, ...]
    further: Callable[[], tuple[TableColumn, ...]] = tuple

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        """All columns, in order."""
        return (*self.first, *self.further())

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    @property
    def numbers(self) -> list[str]:
        """Names of the columns that hold numbers, in order."""
        return [column.name for column in self.columns if column.is_number]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; each field's metadata has `description` and, where there is one, `unit`."""
        return pa.schema(
            [
                pa.field(column.name, column.type, metadata=_metadata(column.unit, column.meaning))
                for column in self.columns
            ],
            metadata=_metadata("", f"one row per {self.row}"),
        )

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Rows as a table with these columns; a column that no row has is empty, and a number is one even if unknown.

        Raises ValueError for a name that is no column.
        """
        listed = [dict(row) for row in rows]
        if unknown := {name for row in listed for name in row} - set(self.names):
            raise ValueError(f"{self.path} has no column {', '.join(sorted(unknown))}")
        return self.filled(pd.DataFrame(listed, columns=self.names))

    def filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` with the columns of this table first, those it lacks empty, and numbers as numbers."""
        missing = {
            column.name: None if pa.types.is_string(column.type) or pa.types.is_list(column.type) else np.nan
            for column in self.columns
            if column.name not in frame
        }
        frame = frame.assign(**missing)
        frame = frame[[*self.names, *(name for name in frame if name not in self.names)]]
        numbers = [column.name for column in self.columns if pa.types.is_float64(column.type)]
        return frame.astype(dict.fromkeys(numbers, float))

    def write(self, path: Path, frame: pd.DataFrame, *, durable: bool = True) -> None:
        """Write the table's columns of `frame` as Parquet with descriptions and units (see files.atomic_path)."""
        table = pa.Table.from_pandas(frame[self.names], schema=self.schema, preserve_index=False)
        described = {**(table.schema.metadata or {}), **_metadata("", f"one row per {self.row}")}
        with atomic_path(path, durable=durable) as temporary:
            pq.write_table(table.replace_schema_metadata(described), temporary, compression="zstd")


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame | None:
    """The Parquet table at `path`, or those of its `columns`; None when it is missing, damaged, or lacks one."""
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError, KeyError):  # pyarrow's errors are ValueErrors and OSErrors
        return None


def columns_of(row: type) -> tuple[TableColumn, ...]:
    """The columns of a row dataclass, in order. Raises TypeError for a field without a Column or a known type."""
    hints = get_type_hints(row, include_extras=True)
    found = []
    for field in dataclasses.fields(row):
        kind, *notes = get_args(hints[field.name]) if get_origin(hints[field.name]) is Annotated else (None,)
        column = next((note for note in notes if isinstance(note, Column)), None)
        stored = _arrow(kind)
        if column is None or stored is None:
            raise TypeError(f"{row.__name__}.{field.name}: needs a type that can be stored and a Column(unit, meaning)")
        found.append(TableColumn(column.unit, column.meaning, field.name, stored))
    return tuple(found)


def row_from_json(row: type[Row], value: Any) -> Row:
    """The row that `vars(row)` stored as JSON gives back; null is NaN in a number.

    Raises ValueError when `value` is not an object with just the row's fields, each of its type: a damaged file.
    """
    hints = _types(row)  # type: ignore[arg-type]  # a class is hashable
    if not isinstance(value, Mapping) or set(value) != set(hints):
        raise ValueError(f"not the fields of a {row.__name__}")
    return row(**{name: _from_json(hint, value[name], f"{row.__name__}.{name}") for name, hint in hints.items()})


_types = cache(get_type_hints)
"""Looking them up costs more than all else in a row, and a study has 20,000 rows."""


def _from_json(hint: Any, value: Any, where: str) -> Any:
    kinds = _alternatives(hint)
    if value is None and type(None) in kinds:
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    if kind is float and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return float("nan") if value is None else float(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
        return kind(value)
    if kind == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{where} is {value!r}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _arrow(hint: Any) -> pa.DataType | None:
    kind = next((kind for kind in _alternatives(hint) if kind is not type(None)), None)
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, StrEnum):
        return pa.string()
    return ARROW.get(kind)


def _metadata(unit: str, meaning: str) -> dict[bytes, bytes]:
    return {b"description": meaning.encode()} | ({b"unit": unit.encode()} if unit else {})
