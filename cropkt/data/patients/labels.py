"""Label tables: a row for each slide, or each patient, with time, event and project. Every row that is wrong is named.

Without `columns` in study.yaml the columns are `patient_id, pathology_id, t, e, project`, time in days, event 1 or 0.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cropkt.data.faults import Faults, Place
from cropkt.data.patients.tables import Table, TableRow, read_table
from cropkt.data.persons import TCGA, patient_id, person_of, tissue_source_site
from cropkt.data.slide_files.slide_names import is_plain_name, slide_id, without_folders
from cropkt.data.study_yaml.columns import (
    DAYS,
    PUBLISHED_COLUMNS,
    Columns,
    EventColumn,
    as_number,
    coding_advice,
    complete_coding,
    event_of,
    is_missing,
)
from cropkt.data.text_files import TextFileError

UNSAFE_NAME = "name that is no file name"
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*")


@dataclass(frozen=True)
class LabelRow:
    """One row: `row` is its 1-based line in `file`, `slide` may be empty, `time` is in days, `event` 0 or 1.

    `patient` is the id all of the person's rows share, `written` the one in the table.
    """

    row: int
    patient: str
    slide: str
    time: float
    event: int
    project: str
    file: str = ""
    written: str = ""
    site: str = ""
    clinical: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelTable:
    """The rows of a cohort's label tables in the files' order; `file` is how messages name it.

    Rows with a fault are among them, so that one wrong cell is not reported again as a slide or patient that is
    missing; a table with faults is never used further. `without_patient` counts rows that name no patient,
    `without_endpoint` has those left out as they lack time or event, `joined` counts patients written in several ways,
    and `clinical_differs` those whose rows differ in a clinical column.
    """

    file: str
    rows: tuple[LabelRow, ...]
    columns: Columns = PUBLISHED_COLUMNS
    without_patient: int = 0
    without_endpoint: tuple[LabelRow, ...] = ()
    joined: int = 0
    clinical_differs: int = 0

    def patients(self) -> pd.DataFrame:
        """Index patient_id (sorted, unique); columns time (float64 days), event (int64), project."""
        ordered = self._first_rows()
        return pd.DataFrame(
            {
                "time": pd.Series([row.time for row in ordered], dtype="float64"),
                "event": pd.Series([row.event for row in ordered], dtype="int64"),
                "project": pd.Series([row.project for row in ordered], dtype="str"),
            }
        ).set_index(pd.Index([row.patient for row in ordered], name="patient_id", dtype="str"))

    def clinical(self) -> pd.DataFrame:
        """Index as `patients`; column site (text, "" where unknown), then the clinical columns of study.yaml.

        A column is float64 (NaN where missing) if all its values are numbers, else text ("" where missing). The first
        row of a patient that has a value counts.
        """
        ordered = self._first_rows()
        values: dict[str, list[str]] = {row.patient: [""] * (1 + len(self.columns.clinical)) for row in ordered}
        for row in self.rows:
            known = values[row.patient]
            values[row.patient] = [old or new for old, new in zip(known, (row.site, *row.clinical), strict=True)]
        frame = pd.DataFrame(
            [values[row.patient] for row in ordered],
            columns=pd.Index(["site", *self.columns.clinical]),
            index=pd.Index([row.patient for row in ordered], name="patient_id", dtype="str"),
            dtype="str",
        )
        for name in self.columns.clinical:
            numbers = [as_number(value) if value else math.nan for value in frame[name]]
            if all(math.isfinite(number) for number, value in zip(numbers, frame[name], strict=True) if value):
                frame[name] = pd.Series(numbers, index=frame.index, dtype="float64")
        return frame

    def _first_rows(self) -> list[LabelRow]:
        first = {row.patient: row for row in reversed(self.rows)}
        return [first[patient] for patient in sorted(first)]


@dataclass(frozen=True)
class LabelSource:
    """One table of a cohort: its `path`, how messages name it, and the project where the table has no such column.

    `members` are the values of the cohort column, in lower case and without "tcga-", that belong to the cohort.
    """

    path: Path
    file: str
    project: str = ""
    members: frozenset[str] = frozenset()


def read_labels(path: Path, file: str, faults: Faults, *, leave_out: bool) -> LabelTable:
    """Read one label table with the columns of the published ones; see `read_cohort_labels`."""
    return read_cohort_labels([LabelSource(path, file)], faults, leave_out=leave_out)


def read_cohort_labels(
    sources: Sequence[LabelSource],
    faults: Faults,
    *,
    leave_out: bool,
    columns: Columns = PUBLISHED_COLUMNS,
    rule: str = TCGA,
    read: Callable[[Path], Table] = read_table,
) -> LabelTable:
    """Read a cohort's label tables and join them; what is wrong goes to `faults` under the table's name.

    With `leave_out`, rows that name no patient or lack time or event are only counted, and are not in the table.
    `rule` says which part of an id is the patient (`persons.patient_id`).
    """
    reading = _Reading(columns, rule, leave_out, faults)
    for source in sources:
        reading.add(source, read)
    return reading.table(", ".join(dict.fromkeys(source.file for source in sources)))


def in_cohort(value: str, members: frozenset[str]) -> bool:
    """Does `value` of the cohort column name one of `members`?"""
    return value.lower().removeprefix("tcga-") in members


class _Reading:
    """One reading of a cohort's tables: rows collected first, then held against each other."""

    def __init__(self, columns: Columns, rule: str, leave_out: bool, faults: Faults) -> None:
        self.columns = columns
        self.rule = rule
        self.leave_out = leave_out
        self.faults = faults
        self.rows: list[LabelRow] = []
        self.incomplete: list[LabelRow] = []
        self.wrong: set[tuple[str, int]] = set()
        self.without_patient = 0
        self.unreadable = False

    def add(self, origin: LabelSource, read: Callable[[Path], Table]) -> None:
        table = self._table(origin, read)
        if table is None:
            self.unreadable = True
            return
        needed, cohort = self.columns.needed(), self.columns.cohort
        kept = [row for row in table.rows if any(row.cells[name] for name in needed)]
        kept = [row for row in kept if cohort is None or in_cohort(row.cells[cohort], origin.members)]
        if cohort is not None and not kept:
            what, to_do = f"column {cohort} has no row of {' or '.join(sorted(origin.members))}", "mend that column"
            self.faults.add("cohort without rows", origin.file, what, f"{to_do}, or leave the cohort out")
            self.unreadable = True
        coding = complete_coding(self.columns.event, (row.cells[self.columns.event.column] for row in kept))
        for row in kept:
            self._add_row(row, origin, coding)

    def _table(self, origin: LabelSource, read: Callable[[Path], Table]) -> Table | None:
        file = origin.file
        try:
            table = read(origin.path)
        except FileNotFoundError:
            self.faults.add("no label table", file, "there is no such file", "mend `labels` or `cohorts` in study.yaml")
            return None
        except TextFileError as error:
            self.faults.add("unreadable table", file, error.reason, error.to_do)
            return None
        if missing := [name for name in self.columns.needed() if name not in table.columns]:
            there = ", ".join(table.columns[:20]) + (", ..." if len(table.columns) > 20 else "")
            what = f"no column {', '.join(missing)} (it has {there or 'none'})"
            to_do = f"a label table needs {', '.join(self.columns.needed())}, or say in study.yaml, under `columns`, "
            self.faults.add("missing column", file, what, to_do + "which of its columns they are")
            return None
        return table

    def _add_row(self, table_row: TableRow, origin: LabelSource, coding: EventColumn) -> None:
        before = len(self.faults.found)
        row = self._named(table_row, origin)
        if row is None:
            return
        cells = table_row.cells
        time, event = cells[self.columns.time.column], cells[self.columns.event.column]
        if self.leave_out and (is_missing(time) or is_missing(event)):
            self.incomplete.append(row)
            return
        row = replace(row, time=self._time(time, row), event=self._event(event, coding, row))
        if len(self.faults.found) > before:
            self.wrong.add((row.file, row.row))
        self.rows.append(row)

    def _named(self, table_row: TableRow, origin: LabelSource) -> LabelRow | None:
        """The row's patient, slide, project and clinical values; None for a row that is left out."""
        columns, cells = self.columns, table_row.cells
        written, slide = cells[columns.patient], cells[columns.slide] if columns.slide else ""
        at = Place(table_row.row, written, slide)
        if not written:
            self.without_patient += 1
            if self.leave_out:
                return None
            to_do = f"fill in {columns.patient}, remove the row, or set `unmatched: leave_out`"
            self.faults.add("slide without patient", origin.file, f"no {columns.patient}", to_do, at)
        patient = patient_id(written, self.rule)
        if written and not patient:
            what = f"the id does not follow `ids: {{patient: {self.rule}}}`"
            self.faults.add("id without patient", origin.file, what, "mend the id, or the rule in study.yaml", at)
        project = cells[columns.project] if columns.project else origin.project
        if columns.project and not project:
            to_do = "give the TCGA project, or the cohort's own name"
            self.faults.add("no project", origin.file, f"{columns.project} is empty", to_do, at)
        file_name = without_folders(slide)
        for name, value in ((columns.patient, written), (columns.slide, file_name), (columns.project, project)):
            if name and not is_plain_name(value):
                what, to_do = f"{name} is {value[:80]!r}", "give a plain name, without / or folders"
                self.faults.add(UNSAFE_NAME, origin.file, what, to_do, Place(table_row.row))
        site = cells[columns.site] if columns.site else tissue_source_site(written)
        values = (site, *(cells[name] for name in columns.clinical))
        site, *clinical = ("" if is_missing(value) else value for value in values)
        where = (origin.file, written, site, tuple(clinical))
        return LabelRow(table_row.row, patient or written, slide_id(slide), math.nan, 0, project, *where)

    def _time(self, cell: str, row: LabelRow) -> float:
        name, unit = self.columns.time.column, self.columns.time.unit
        at = Place(row.row, row.written, row.slide)
        time = as_number(cell)
        if not math.isfinite(time):
            shown = f"{name} is {cell!r}, not a number" if cell else f"{name} is empty"
            to_do = f"give the time in {unit}, remove the patient, or set `unmatched: leave_out`"
            if _DATE.fullmatch(cell):
                shown, to_do = f"{name} is {cell!r}, a date", f"give the {unit} between diagnosis and that date"
            self.faults.add("time is not a number", row.file, shown, to_do, at)
        elif time < 0:
            self.faults.add(
                "negative time", row.file, f"{name} is {cell}", f"give {unit} since diagnosis, 0 or more", at
            )
        return time * DAYS[unit]

    def _event(self, cell: str, coding: EventColumn, row: LabelRow) -> int:
        event = event_of(cell, coding)
        if event is None:
            shown = f"{coding.column} is {cell!r}" if cell else f"{coding.column} is empty"
            at = Place(row.row, row.written, row.slide)
            self.faults.add("event is not 0 or 1", row.file, shown, coding_advice(coding), at)
        return int(event == 1)

    def table(self, file: str) -> LabelTable:
        """All rows read so far as one table, each person's under one id, and held against each other."""
        if not self.rows and not self.unreadable:
            what, to_do = "no row names a patient", "give one row a slide, or leave the cohort out"
            if self.incomplete:
                what = f"none of its {len(self.incomplete)} rows has time and event"
            self.faults.add("empty table", file, what, to_do)
        names: dict[str, str] = {}
        for row in (*self.rows, *self.incomplete):
            names.setdefault(person_of(row.patient), row.patient)
        rows, incomplete = (
            tuple(replace(row, patient=names[person_of(row.patient)]) for row in some)
            for some in (self.rows, self.incomplete)
        )
        sound = [row for row in rows if (row.file, row.row) not in self.wrong]
        _check_patients(sound, incomplete, self.columns, self.faults)
        _check_slides(sound, self.faults)
        counted = (self.without_patient, incomplete, _joined(rows), _clinical_differs(rows))
        return LabelTable(file, rows, self.columns, *counted)


def _joined(rows: Sequence[LabelRow]) -> int:
    """How many patients are written in more than one way."""
    written: dict[str, set[str]] = {}
    for row in rows:
        written.setdefault(row.patient, set()).add(row.written)
    return sum(len(ways) > 1 for ways in written.values())


def _clinical_differs(rows: Sequence[LabelRow]) -> int:
    """How many patients have two values in one clinical column."""
    values: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        for column, value in enumerate(row.clinical):
            if value:
                values.setdefault((row.patient, column), set()).add(value)
    return len({patient for (patient, _), known in values.items() if len(known) > 1})


def _check_patients(rows: Sequence[LabelRow], incomplete: Sequence[LabelRow], columns: Columns, faults: Faults) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        known = first.setdefault(row.patient, row)
        for column, ours, theirs in (
            (columns.time.column, row.time, known.time),
            (columns.event.column, row.event, known.event),
            (columns.project or "project", row.project, known.project),
        ):
            if ours != theirs:
                shown = (f"{value:g}" if isinstance(value, float) else value for value in (ours, theirs))
                what = "{} is {} here and {} in {}".format(column, *shown, _where(known, row))
                to_do = "all rows of a patient need the same label"
                faults.add("two labels", row.file, what, to_do, Place(row.row, row.written, row.slide))
                break
    for row in incomplete:
        if row.patient in first:
            what = f"time or event is empty here and given in {_where(first[row.patient], row)}"
            to_do = "all rows of a patient need the same label"
            faults.add("two labels", row.file, what, to_do, Place(row.row, row.written, row.slide))


def _where(known: LabelRow, row: LabelRow) -> str:
    """`row 4`, with the file where it is another one than the row's, and the id where it is written otherwise."""
    of_file = f" of {known.file}" if known.file != row.file else ""
    other = f", where the patient is written {known.written}" if known.written != row.written else ""
    return f"row {known.row}{of_file}{other}"


def _check_slides(rows: Sequence[LabelRow], faults: Faults) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        if not row.slide:
            continue
        known = first.setdefault(row.slide, row)
        if known is row:
            continue
        at = Place(row.row, row.written, row.slide)
        place = f"row {known.row}" + (f" of {known.file}" if known.file != row.file else "")
        if known.patient == row.patient:
            what, to_do = f"the slide is in {place} already", "keep one row a slide"
            faults.add("duplicated slide", row.file, what, to_do, at)
        else:
            what = f"the slide is patient {known.patient}'s in {place}"
            faults.add("slide of two patients", row.file, what, "give it to one patient", at)
