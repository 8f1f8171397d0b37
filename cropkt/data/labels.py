"""Label tables: one row a slide with `patient_id, pathology_id, t, e, project`. Every row that is wrong is named."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cropkt.data.faults import Faults, Place

COLUMNS = ("patient_id", "pathology_id", "t", "e", "project")


@dataclass(frozen=True)
class LabelRow:
    """One row: `row` is its 1-based line in the file, `slide` may be empty, `time` is in days, `event` 0 or 1."""

    row: int
    patient: str
    slide: str
    time: float
    event: int
    project: str


@dataclass(frozen=True)
class LabelTable:
    """The rows of a label table in the file's order; `file` is how messages name it.

    Rows with a fault are among them, so that one wrong cell is not reported again as a slide or patient that is
    missing; a table with faults is never used further. `without_patient` counts rows that name no patient.
    """

    file: str
    rows: tuple[LabelRow, ...]
    without_patient: int = 0

    def patients(self) -> pd.DataFrame:
        """Index patient_id (sorted, unique); columns time (float64 days), event (int64), project."""
        first = {row.patient: row for row in reversed(self.rows)}
        ordered = [first[patient] for patient in sorted(first)]
        return pd.DataFrame(
            {
                "time": pd.Series([row.time for row in ordered], dtype="float64"),
                "event": pd.Series([row.event for row in ordered], dtype="int64"),
                "project": pd.Series([row.project for row in ordered], dtype="str"),
            }
        ).set_index(pd.Index([row.patient for row in ordered], name="patient_id", dtype="str"))


def read_labels(path: Path, file: str, faults: Faults, *, leave_out: bool) -> LabelTable:
    """Read a label table; what is wrong goes to `faults` under the name `file`.

    With `leave_out`, rows that name no patient are only counted, and are not in the table.
    """
    try:
        # Spreadsheets write a byte order mark; read as plain UTF-8 it would become part of the first column's name.
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            if missing := [name for name in COLUMNS if name not in columns]:
                what = f"no column {', '.join(missing)} (it has {', '.join(columns) or 'none'})"
                faults.add("missing column", file, what, f"a label table needs {', '.join(COLUMNS)}, comma-separated")
                return LabelTable(file, ())
            cells = [(reader.line_num, {name: (line[name] or "").strip() for name in COLUMNS}) for line in reader]
    except FileNotFoundError:
        faults.add("no label table", file, "there is no such file", "mend `labels` or `cohorts` in study.yaml")
        return LabelTable(file, ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        faults.add("unreadable table", file, f"cannot be read ({error})", "give a comma-separated table in UTF-8")
        return LabelTable(file, ())

    rows: list[LabelRow] = []
    wrong: set[int] = set()
    without_patient = 0
    for number, cell in cells:
        if not any(cell.values()):
            continue
        if not cell["patient_id"]:
            without_patient += 1
            if leave_out:
                continue
            to_do = "fill in patient_id, remove the row, or set `unmatched: leave_out`"
            at = Place(row=number, slide=cell["pathology_id"])
            faults.add("slide without patient", file, "no patient_id", to_do, at)
            wrong.add(number)
        before = len(faults.found)
        rows.append(_checked(number, cell, file, faults))
        if len(faults.found) > before:
            wrong.add(number)
    if not rows:
        faults.add("empty table", file, "no row names a patient", "give one row a slide, or leave the cohort out")
    sound = [row for row in rows if row.row not in wrong]
    _check_patients(sound, file, faults)
    _check_slides(sound, file, faults)
    return LabelTable(file, tuple(rows), without_patient)


def _checked(number: int, cell: dict[str, str], file: str, faults: Faults) -> LabelRow:
    at = Place(number, cell["patient_id"], cell["pathology_id"])
    time, event = _number(cell["t"]), _number(cell["e"])
    if not math.isfinite(time):
        shown = f"t is {cell['t']!r}, not a number" if cell["t"] else "t is empty"
        faults.add("time is not a number", file, shown, "give the time in days, or remove the patient", at)
    elif time < 0:
        faults.add("negative time", file, f"t is {cell['t']}", "give days since diagnosis, 0 or more", at)
    if event not in (0, 1):
        shown = f"e is {cell['e']!r}" if cell["e"] else "e is empty"
        faults.add("event is not 0 or 1", file, shown, "give 1 (died of the disease) or 0 (censored)", at)
    if not cell["project"]:
        faults.add("no project", file, "project is empty", "give the TCGA project, or the cohort's own name", at)
    return LabelRow(number, cell["patient_id"], cell["pathology_id"], time, int(event == 1), cell["project"])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _check_patients(rows: list[LabelRow], file: str, faults: Faults) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        known = first.setdefault(row.patient, row)
        for column, ours, theirs in (
            ("t", row.time, known.time),
            ("e", row.event, known.event),
            ("project", row.project, known.project),
        ):
            if ours != theirs:
                shown = (f"{value:g}" if isinstance(value, float) else value for value in (ours, theirs))
                what = "{} is {} here and {} in row {}".format(column, *shown, known.row)
                to_do = "all rows of a patient need the same label"
                faults.add("two labels", file, what, to_do, Place(row.row, row.patient, row.slide))
                break


def _check_slides(rows: list[LabelRow], file: str, faults: Faults) -> None:
    first: dict[str, LabelRow] = {}
    for row in rows:
        if not row.slide:
            continue
        known = first.setdefault(row.slide, row)
        if known is row:
            continue
        at = Place(row.row, row.patient, row.slide)
        if known.patient == row.patient:
            what, to_do = f"the slide is in row {known.row} already", "keep one row a slide"
            faults.add("duplicated slide", file, what, to_do, at)
        else:
            what = f"the slide is patient {known.patient}'s in row {known.row}"
            faults.add("slide of two patients", file, what, "give it to one patient", at)
