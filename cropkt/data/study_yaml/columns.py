"""The columns of a label table: which one says what, in which unit and coding."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

DAYS = {"days": 1.0, "months": 30.4375, "years": 365.25}
"""Days a unit of time has: a year of 365.25 days, and a month of a twelfth of it."""
MISSING = frozenset(
    [
        *("", "na", "n/a", "nan", "null", "none", "--", "'--", "unknown", "not reported", "not available"),
        *("[not available]", "[not applicable]", "[unknown]", "[discrepancy]", "[not evaluated]"),
    ]
)
"""Words of tables for a value that is not there, in lower case."""


@dataclass(frozen=True)
class TimeColumn:
    """The column with the time to event or last follow-up, and its unit: days, months or years."""

    column: str = "t"
    unit: str = "days"


@dataclass(frozen=True)
class EventColumn:
    """The column that says whether the event was seen: values that mean an event, and those that mean censored.

    Values are compared as `normal_value` makes them. Where one of the two is empty, it is the one other value that the
    column holds.
    """

    column: str = "e"
    event: tuple[str, ...] = ("1",)
    censored: tuple[str, ...] = ("0",)


@dataclass(frozen=True)
class Columns:
    """Which column says what. None where a table has no such column: a patient's slides are then found by the patient's
    id, the project is the table's or the cohort's own name, and the site is read from TCGA barcodes.

    `cohort` names the column that divides one table among all cohorts; `clinical` the columns kept for baselines.
    """

    patient: str = "patient_id"
    slide: str | None = "pathology_id"
    time: TimeColumn = TimeColumn()
    event: EventColumn = EventColumn()
    project: str | None = "project"
    site: str | None = None
    cohort: str | None = None
    clinical: tuple[str, ...] = ()

    def needed(self) -> tuple[str, ...]:
        """Every column a table must have."""
        one = (self.patient, self.slide, self.time.column, self.event.column, self.project, self.site, self.cohort)
        return tuple(dict.fromkeys(name for name in (*one, *self.clinical) if name is not None))


PUBLISHED_COLUMNS = Columns()


def is_missing(cell: str) -> bool:
    """Is `cell` empty, or a word for a value that is not there?"""
    return cell.lower() in MISSING


def normal_value(value: object) -> str:
    """A value of an event column as it is compared: numbers by value, truth values as 1 and 0, words in lower case."""
    if isinstance(value, bool):
        return str(int(value))
    text = str(value).strip().casefold()
    number = as_number(text)
    return f"{number:g}" if math.isfinite(number) else {"true": "1", "false": "0"}.get(text, text)


def as_number(cell: str) -> float:
    """The number in `cell`, NaN where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def complete_coding(coding: EventColumn, cells: Iterable[str]) -> EventColumn:
    """`coding` with both kinds of values: where study.yaml names one kind, and the column holds exactly one other
    value, that is the other kind. Else it stays as it is, and other values are faults."""
    known = coding.event or coding.censored
    others = {normal_value(cell) for cell in cells if not is_missing(cell)} - set(known)
    if (coding.event and coding.censored) or len(others) != 1:
        return coding
    (other,) = others
    if coding.event:
        return EventColumn(coding.column, coding.event, (other,))
    return EventColumn(coding.column, (other,), coding.censored)


def event_of(cell: str, coding: EventColumn) -> int | None:
    """1 for an event, 0 for a censored patient, None for a value `coding` does not know."""
    value = normal_value(cell)
    if value in coding.event:
        return 1
    return 0 if value in coding.censored else None


def coding_advice(coding: EventColumn) -> str:
    """What to do about a value that `coding` does not know."""
    event, censored = ", ".join(coding.event), ", ".join(coding.censored)
    if coding == EventColumn(coding.column):
        return "give 1 (died of the disease) or 0 (censored), or name the values in study.yaml, under `columns: event`"
    if event and censored:
        return (
            f"study.yaml has {event} for an event and {censored} for censored; mend the cell, or list the value there"
        )
    known, other = (f"{event} for an event", "censored") if event else (f"{censored} for censored", "event")
    return f"study.yaml has {known}, and the column several other values: list those under `{other}` too"
