"""Time from dates, as hospitals write it: days from a first date to death, or to the last contact of the living."""

import re
from collections.abc import Sequence
from datetime import date

from cropkt.data.patients.tables import Table, TableRow
from cropkt.data.study_yaml.columns import is_missing
from cropkt.errors import StudyError
from cropkt.front.choosing import Chooser, Reading
from cropkt.front.tables.column_names import words_of

DAYS_TOGETHER = "days_to_death_or_last_contact"
DEATH_GIVEN = "date_of_death_given"
_WORDS = {
    "start": r"diag|dx$|surg|operat|resect|biops|inclu|enrol|treatment|therap",
    "death": r"death|dead|died|deceas|^tod|sterbe|verstorben",
    "last": r"last|contact|^follow|^fu$|lfu|letzte|kontakt|alive",
}
"""What a word of a date's column begins with, or is, by what happened on it."""
_ISO = re.compile(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:[T ][\d:.]+Z?)?")
_DAY_FIRST = re.compile(r"(?P<day>\d{1,2})(?P<mark>[./-])(?P<month>\d{1,2})(?P=mark)(?P<year>\d{4})")
_MONTH_FIRST = re.compile(r"(?P<month>\d{1,2})(?P<mark>[/-])(?P<day>\d{1,2})(?P=mark)(?P<year>\d{4})")


def from_dates(table: Table, chooser: Chooser, *, has_event: bool) -> tuple[Table, str] | None:
    """`table` with a column DAYS_TOGETHER, and how it was made; None where no columns of dates are called so.

    Without a column of events (`has_event`) one is made, DEATH_GIVEN: 1 where there is a date of death. Raises
    StudyError where days and months of the dates cannot be told apart, or several columns may be the first date.
    """
    columns = date_columns(table)
    of = {kind: [name for name in columns if _happened(name) == kind] for kind in _WORDS}
    if not of["start"] or not (of["death"] or of["last"]) or (not of["last"] and not has_event):
        return None
    readings = [Reading(name, name, "time begins on this date") for name in of["start"]]
    start = chooser.choose("the first day", "start", readings).value
    if max(len(of["death"]), len(of["last"])) > 1:
        raise StudyError(f"dates of {', '.join(of['death'] + of['last'])}: keep one of death and one of last contact")
    ends = [*of["death"], *of["last"]]
    order = _order([cell for name in (start, *ends) for cell in _cells(table, name)])
    made_event = not has_event
    rows = tuple(_with_days(row, start, ends, order, of["death"] if made_event else []) for row in table.rows)
    how = f"days from {start} to {' where it is given, else '.join(ends)}"
    if made_event:
        how += f"; an event where {of['death'][0]} is given" if of["death"] else ""
    added = (DAYS_TOGETHER, DEATH_GIVEN) if made_event and of["death"] else (DAYS_TOGETHER,)
    return Table((*table.columns, *added), rows), how


def date_columns(table: Table) -> list[str]:
    """The columns most of whose cells are dates."""
    return [name for name in table.columns if are_dates(_cells(table, name))]


def _happened(name: str) -> str | None:
    """What happened on the date in a column of this name; None for birth and for names that say nothing, or two things
    (a last follow-up after diagnosis)."""
    words = words_of(name)
    if any(word.startswith(("birth", "geburt", "dob")) for word in words):
        return None
    if words == ("dod",):
        return "death"
    found = [kind for kind, pattern in _WORDS.items() if any(re.match(pattern, word) for word in words)]
    if "last" in found and "start" not in found:
        return "last"
    return found[0] if len(found) == 1 else None


def _cells(table: Table, name: str) -> list[str]:
    return [row.cells[name] for row in table.rows if not is_missing(row.cells[name])]


def are_dates(cells: Sequence[str]) -> bool:
    """Are most of these cells dates?"""
    dates = sum(bool(_ISO.fullmatch(cell) or _DAY_FIRST.fullmatch(cell)) for cell in cells)
    return 2 * dates > len(cells) > 0


def _order(cells: Sequence[str]) -> re.Pattern[str]:
    """How dates that begin with no year are read: with points the day comes first, elsewhere what fits all of them."""
    short = [found for found in map(_DAY_FIRST.fullmatch, cells) if found]
    if all(found["mark"] == "." for found in short) or any(int(found["day"]) > 12 for found in short):
        return _DAY_FIRST
    if any(int(found["month"]) > 12 for found in short):
        return _MONTH_FIRST
    raise StudyError(f"dates such as {short[0][0]} have no certain order of day and month; write them as 2011-05-31")


def _with_days(
    row: TableRow, start: str, ends: Sequence[str], order: re.Pattern[str], death: Sequence[str]
) -> TableRow:
    begun = _date(row.cells[start], order)
    ended = next((found for name in ends if (found := _date(row.cells[name], order))), None)
    days = "" if begun is None or ended is None else str((ended - begun).days)
    event = {DEATH_GIVEN: str(int(_date(row.cells[death[0]], order) is not None))} if death else {}
    return TableRow(row.row, row.cells | {DAYS_TOGETHER: days} | event)


def _date(cell: str, order: re.Pattern[str]) -> date | None:
    found = _ISO.fullmatch(cell) or order.fullmatch(cell)
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"])) if found else None
    except ValueError:  # 31 February
        return None
