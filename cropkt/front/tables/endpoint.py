"""The endpoint of a table: which columns hold time and event, in which unit and coding, by their names and values."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cropkt.data.patients.tables import Table
from cropkt.data.study_yaml.columns import DAYS, EventColumn, TimeColumn, as_number, is_missing, normal_value
from cropkt.errors import StudyError, suggestion
from cropkt.front.choosing import Chooser, Reading
from cropkt.front.tables.column_names import UNITS, is_called, words_of
from cropkt.front.tables.dates import DAYS_TOGETHER, are_dates, date_columns
from cropkt.front.tables.follow_up import TOGETHER, is_part

ENDPOINTS = {
    "os": ("os", "overall_survival"),
    "dss": ("dss", "disease_specific_survival"),
    "pfi": ("pfi", "progression_free_interval", "progress_free_interval"),
    "pfs": ("pfs", "progression_free", "progress_free"),
    "dfi": ("dfi", "disease_free_interval"),
    "dfs": ("dfs", "disease_free"),
    "rfs": ("rfs", "recurrence_free_survival", "relapse_free_survival"),
    "efs": ("efs", "event_free_survival"),
    "mfs": ("mfs", "metastasis_free_survival"),
}
"""What columns call an endpoint, in lower case, words joined by _."""
TIME_WORDS = frozenset(["time", "t", "survival", "followup", "follow", "futime", "duration", *UNITS])
NO_TIME = frozenset(["birth", "diagnosis", "age", "initial", "created", "sample", "collection", "updated", "smoking"])
"""Words of columns that hold numbers of days or years which are no follow-up."""
EVENT_WORDS = frozenset(["event", "e", "status", "dead", "death", "died", "deceased", "vital", "fustat"])
CENSORED_WORDS = frozenset(["censorship", "censored", "censor", "cens", "censoring", "alive", "living"])
DEATH_WORDS = frozenset(["dead", "death", "died", "deceased", "vital"])
EVENT_BEGINS = ("dead", "deceased", "died", "death", "dod", "event", "progress", "recur", "relapse", "metasta")
CENSORED_BEGINS = ("alive", "living", "censored", "disease free", "diseasefree", "no ", "not ", "ned", "awd", "lost ")
"""Words that values of an event column begin with."""
OF_OTHER_CAUSE = ("dead tumor free", "doc", "other cause", "other reason", "other disease", "unrelated", "non-cancer")
"""In values that mean death, and no event where the endpoint is the cancer's own."""
MOST_VALUES = 8
"""A column of more values is none of events."""
CERTAIN_DAYS = 1200.0
"""A longest time beyond it cannot be months (100 years)."""
LONGEST_YEARS = 80.0


@dataclass(frozen=True)
class Endpoint:
    """The chosen columns and how they are read, with the evidence for unit and coding."""

    time: TimeColumn
    event: EventColumn
    why_pair: str
    why_unit: str
    why_coding: str


def read_endpoint(table: Table, chooser: Chooser) -> Endpoint:
    """The endpoint of `table`. Raises StudyError where there is none, or several, and nobody says which."""
    time, event, why = _pair(table, chooser)
    unit = chooser.choose(f"the unit of {time}", "time-unit", _units(time, cells_of(table, time)))
    coding = _coding(event, cells_of(table, event), chooser, endpoint_of(event) or endpoint_of(time))
    return Endpoint(TimeColumn(time, unit.value), coding.value, why, unit.evidence, coding.evidence)


def has_time(table: Table, chooser: Chooser) -> bool:
    """Does a column of `table` hold times?"""
    return bool(_times(table, chooser))


def has_endpoint(table: Table, chooser: Chooser) -> bool:
    """Does `table` hold times and events at all, or only slides?"""
    return bool(_times(table, chooser) and _events(table, chooser))


def cells_of(table: Table, column: str) -> list[str]:
    """The values of a column that are there."""
    return [row.cells[column] for row in table.rows if not is_missing(row.cells[column])]


def endpoint_of(name: str) -> str:
    """The endpoint (a key of ENDPOINTS) that a column's name says, or "" where it says none."""
    joined = "_" + "_".join(words_of(name)) + "_"
    return next((code for code, names in ENDPOINTS.items() if any(f"_{own}_" in joined for own in names)), "")


def _pair(table: Table, chooser: Chooser) -> tuple[str, str, str]:
    """Columns of time and event, and why these."""
    times, events = _times(table, chooser), _events(table, chooser)
    pairs = [(time, event) for time in times for event in events if time != event and _fit(time, event, times, events)]
    wanted = chooser.flag("endpoint")
    if chooser.flag("time") or chooser.flag("event"):
        pairs = pairs or [(time, event) for time in times for event in events if time != event]
    elif wanted is not None:
        pairs = [pair for pair in pairs if wanted.casefold() in {endpoint_of(name) for name in pair}]
    if not pairs:
        raise StudyError(_no_pair(table, times, events, wanted))
    if len(pairs) == 1:
        return *pairs[0], f"{pairs[0][0]} and {pairs[0][1]} are the only pair of time and event"
    readings = [
        Reading(pair, (endpoint_of(pair[0]) or endpoint_of(pair[1])).upper(), f"{pair[0]} with {pair[1]}")
        for pair in pairs
    ]
    if len({reading.text for reading in readings} - {""}) == len(readings):
        (time, event), why = _value_and_why(chooser.choose("the endpoint", "endpoint", readings))
        return time, event, why
    chosen = chooser.choose("the time", "time", [Reading(t, t, _seen(table, t)) for t in _first(pairs, 0)])
    left = _first([pair for pair in pairs if pair[0] == chosen.value], 1)
    ends = chooser.choose("the event", "event", [Reading(e, e, _seen(table, e)) for e in left])
    return chosen.value, ends.value, ends.evidence


def _value_and_why(reading: Reading) -> tuple[tuple[str, str], str]:
    return reading.value, reading.evidence


def _first(pairs: Sequence[tuple[str, str]], side: int) -> list[str]:
    return list(dict.fromkeys(pair[side] for pair in pairs))


def _seen(table: Table, column: str) -> str:
    return "it holds " + ", ".join(list(dict.fromkeys(cells_of(table, column)))[:4])


def _no_pair(table: Table, times: list[str], events: list[str], wanted: str | None) -> str:
    if wanted:
        return f"--endpoint {wanted}: no columns of time and event are called so (times: {', '.join(times) or 'none'})"
    lacking = "time" if not times else "event" if not events else "time that goes with an event"
    some = ", ".join(table.columns[:20]) + (", ..." if len(table.columns) > 20 else "")
    known = f"no column of {lacking} is known by its name (it has {some}); name it: --time COLUMN --event COLUMN"
    weeks = [name for name in table.columns if {"week", "weeks", "wk", "wks"} & set(words_of(name))]
    if not times and weeks:
        return f"{known}. {weeks[0]} is in weeks: write days, months or years"
    if not times and (dates := date_columns(table)):
        return (
            f"{known}. Dates are in {', '.join(dates[:4])}; days are counted from a date of diagnosis (or surgery) to "
            "one of death and one of last contact, if the columns are called so, beside a column of events"
        )
    worded = [name for name in table.columns if _is_called_time(name) and cells_of(table, name)]
    if not times and worded:
        return f"{known}. {worded[0]} is called a time, and {_seen(table, worded[0])}: write plain numbers"
    return known


def _times(table: Table, chooser: Chooser) -> list[str]:
    if (given := chooser.flag("time")) is not None:
        return [_column(table, given, "time")]
    return [name for name in table.columns if _is_time(name, cells_of(table, name))]


def _events(table: Table, chooser: Chooser) -> list[str]:
    if (given := chooser.flag("event")) is not None:
        return [_column(table, given, "event")]
    return events_in(table, chooser)


def events_in(table: Table, chooser: Chooser) -> list[str]:
    """The columns of events by their names: those whose values say which is one, else those that need to be told."""
    if (given := chooser.flag("event")) is not None:
        return [given] if given in table.columns else []
    named = {name: cells_of(table, name) for name in table.columns if _is_called_event(name)}
    named = {name: cells for name, cells in named.items() if cells and not are_dates(cells)}
    return [name for name, cells in named.items() if _codings(name, cells)] or [
        name for name, cells in named.items() if len(set(map(normal_value, cells))) <= MOST_VALUES
    ]


def _column(table: Table, name: str, flag: str) -> str:
    if name in table.columns:
        return name
    raise StudyError(
        f"--{flag} {name}: there is no such column; {suggestion(name, table.columns)}it has "
        f"{', '.join(table.columns[:20])}"
    )


def _is_called_time(name: str) -> bool:
    words = set(words_of(name))
    return name in (TOGETHER, DAYS_TOGETHER) or bool(words & TIME_WORDS and not words & NO_TIME and not is_part(name))


def _is_time(name: str, cells: Sequence[str]) -> bool:
    if not _is_called_time(name):
        return False
    numbers = [number for number in map(as_number, cells) if math.isfinite(number)]
    return 2 * len(numbers) > len(cells) > 0


def _is_called_event(name: str) -> bool:
    return bool(set(words_of(name)) & (EVENT_WORDS | CENSORED_WORDS) or is_called(name, ENDPOINTS))


def _fit(time: str, event: str, times: Sequence[str], events: Sequence[str]) -> bool:
    """May `event` be what `time` runs to? Of one endpoint; or one of them names none and no better partner is there."""
    ours, theirs = endpoint_of(time), endpoint_of(event)
    if ours == theirs:
        return True
    if theirs == "":
        of_death = bool(DEATH_WORDS & set(words_of(event)))
        return ours not in map(endpoint_of, events) and (ours == "os" or not of_death)
    return ours == "" and theirs not in map(endpoint_of, times)


def _units(name: str, cells: Sequence[str]) -> list[Reading]:
    """The units that a column of times may have."""
    times = [number for number in map(as_number, cells) if math.isfinite(number)]
    longest = max(times, default=0.0)
    seen = f"longest {longest:g}"
    said = {UNITS[word] for word in words_of(name) if word in UNITS and len(word) > 1}
    if name == TimeColumn().column:
        said = {"days"}
    if len(said) == 1:
        (unit,) = said
        if longest * DAYS[unit] <= LONGEST_YEARS * DAYS["years"]:
            why = "the published tables have it so" if name == TimeColumn().column else "its name says so"
            return [Reading(unit, unit, f"{why}; {seen}")]
        return [Reading(one, one, f"{seen}, which is {longest * DAYS[one] / 365.25:.3g} years") for one in DAYS]
    if longest > CERTAIN_DAYS:
        return [Reading("days", "days", f"{seen}, which would be {longest / 12:.0f} years in months")]
    possible = [unit for unit in DAYS if longest * DAYS[unit] <= LONGEST_YEARS * DAYS["years"]]
    return [Reading(unit, unit, f"{seen}, which is {longest * DAYS[unit] / 365.25:.3g} years") for unit in possible]


def _coding(name: str, cells: Sequence[str], chooser: Chooser, endpoint: str) -> Reading:
    values = list(dict.fromkeys(map(normal_value, cells)))
    event, censored = chooser.flag("event-value"), chooser.flag("censored-value")
    if event or censored:
        given = tuple(tuple(map(normal_value, some or ())) for some in (event, censored))
        for value in (*given[0], *given[1]):
            if value not in values:
                raise StudyError(f"{value!r} is no value of {name}; it holds {', '.join(values[:8])}")
        rest = tuple(value for value in values if value not in given[0] + given[1])
        coding = EventColumn(name, given[0] or rest, given[1] or rest)
        return Reading(coding, "", "the flags say so")
    codings = _codings(name, cells, endpoint)
    if not codings:
        some = ", ".join(values[:8])
        raise StudyError(
            f"{name} holds {some}; say which mean an event: --event-value VALUE (more than once if need be)"
        )
    if len(codings) > 1:
        readings = [Reading(one.value, ", ".join(one.value.event), one.evidence) for one in codings]
        return chooser.choose(f"the value of {name} that means an event", "event-value", readings)
    return codings[0]


def _codings(name: str, cells: Sequence[str], endpoint: str | None = None) -> list[Reading]:
    """The ways to read a column of events of an `endpoint` (by default the one its name says); none where its values
    are no such thing, or do not say."""
    endpoint = endpoint_of(name) if endpoint is None else endpoint
    values = tuple(dict.fromkeys(map(normal_value, cells)))
    words = set(words_of(name))
    if len(values) > MOST_VALUES:
        return []
    if set(values) <= {"0", "1"}:
        return _of_numbers(name, words)
    if set(values) <= {"yes", "no", "y", "n"}:
        said = {"no", "n"} if words & CENSORED_WORDS else {"yes", "y"}
        return [_reading(name, values, said, "yes and no, and the column's name")]
    if all(re.match(r"[01]\s*:", value) for value in values):
        event = {value for value in values if value.startswith("1")}
        return [_reading(name, values, event, "1: and 0: before the words, as cBioPortal writes them")]
    if (in_words := [_event_in_words(value, endpoint) for value in values]) and None not in in_words:
        event = {value for value, is_event in zip(values, in_words, strict=True) if is_event}
        return [_reading(name, values, event, "the words say so")]
    if set(values) <= {"1", "2"}:
        two = [("2", "as R's survival package has 1 censored, 2 dead"), ("1", "if 2 means censored")]
        return [_reading(name, ("1", "2"), {value}, why) for value, why in two]
    return []


def _event_in_words(value: str, endpoint: str) -> bool | None:
    """Do the words of a value mean an event of the endpoint? None where they do not say."""
    if any(words in value for words in OF_OTHER_CAUSE):
        return {"os": True, "dss": False}.get(endpoint)
    if value.startswith(CENSORED_BEGINS):
        return False
    return True if value.startswith(EVENT_BEGINS) else None


def _of_numbers(name: str, words: set[str]) -> list[Reading]:
    """The ways to read a column of 0 and 1."""
    if words & CENSORED_WORDS:
        return [_reading(name, ("0", "1"), {"0"}, "its name says that 1 means censored")]
    if words - {"vital", "status"} or endpoint_of(name):
        return [_reading(name, ("0", "1"), {"1"}, "its name says that 1 means an event")]
    return [
        _reading(name, ("0", "1"), {"1"}, "if 1 means dead"),
        _reading(name, ("0", "1"), {"0"}, "if 1 means alive"),
    ]


def _reading(name: str, values: Sequence[str], event: set[str], why: str) -> Reading:
    events = tuple(value for value in values if value in event)
    censored = tuple(value for value in values if value not in event)
    return Reading(EventColumn(name, events, censored), ", ".join(events), why)
