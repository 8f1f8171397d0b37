"""`columns:`, `ids:` and `splits_columns:` of study.yaml: how the study's own tables are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cropkt.data.faults import Faults
from cropkt.data.persons import TCGA, is_rule
from cropkt.data.study_yaml.columns import (
    DAYS,
    PUBLISHED_COLUMNS,
    Columns,
    EventColumn,
    TimeColumn,
    normal_value,
)
from cropkt.data.study_yaml.schema import (
    COLUMN_KEYS,
    EVENT_KEYS,
    ID_KEYS,
    SPLIT_KEYS,
    TIME_KEYS,
    Key,
    known_keys,
    shown,
    study_fault,
)
from cropkt.errors import suggestion

_EXAMPLE = "columns: {patient: case_id, time: {column: os_months, unit: months}, event: {column: dead}}"


def read_columns(value: Any, faults: Faults) -> Columns:
    """The columns of the label tables. A mapping that names patient, time and event describes tables of its own; one
    that names fewer changes the published tables' columns, and what it does not name stays as there."""
    if value is None:
        return PUBLISHED_COLUMNS
    keys = known_keys(value, COLUMN_KEYS, "columns", _EXAMPLE, faults)
    whole = all(name in keys for name in ("patient", "time", "event"))
    known = replace(PUBLISHED_COLUMNS, slide=None, project=None) if whole else PUBLISHED_COLUMNS
    clinical = keys.get("clinical", [])
    if not isinstance(clinical, list) or not all(isinstance(name, str) and name.strip() for name in clinical):
        study_fault(faults, f"columns: clinical is {shown(clinical)}", "give a list of columns, e.g. [age, sex, stage]")
        clinical = []

    def column(key: str, default: str | None) -> str | None:
        return _column(keys[key], f"columns: {key}", faults) if key in keys else default

    return Columns(
        patient=column("patient", known.patient) or known.patient,
        slide=column("slide", known.slide),
        time=_time(keys["time"], faults) if "time" in keys else known.time,
        event=_event(keys["event"], faults) if "event" in keys else known.event,
        project=column("project", known.project),
        site=column("site", known.site),
        cohort=column("cohort", known.cohort),
        clinical=tuple(dict.fromkeys(name.strip() for name in clinical)),
    )


def read_id_rule(value: Any, faults: Faults) -> str:
    """The rule that says which part of an id is the patient."""
    if value is None:
        return TCGA
    example = 'ids: {patient: "first 8"}'
    keys = known_keys(value, ID_KEYS, "ids", example, faults)
    rule = keys.get("patient", TCGA)
    if isinstance(value, dict):
        _need(keys, ID_KEYS, "ids", example, faults)
    if not isinstance(rule, str) or len(rule) > 100 or not is_rule(rule):
        to_do = "write tcga, `first 8` (characters), or a pattern of the id such as `{patient}_*`"
        study_fault(faults, f"ids: patient is {shown(rule)}", to_do)
        return TCGA
    return rule


def read_split_columns(value: Any, faults: Faults) -> dict[str, str] | None:
    """By part (train, test, validation) the column of a split file, None where study.yaml does not say."""
    if value is None:
        return None
    example = "splits_columns: {train: train, test: val}"
    keys = known_keys(value, SPLIT_KEYS, "splits_columns", example, faults)
    if not isinstance(value, dict):
        return None
    _need(keys, SPLIT_KEYS, "splits_columns", example, faults)
    columns = {part: _column(name, f"splits_columns: {part}", faults) or part for part, name in keys.items()}
    if len(set(columns.values())) < len(columns):
        study_fault(faults, f"splits_columns is {shown(value)}", "give every part a column of its own")
    return columns


def _need(given: Mapping[str, Any], keys: tuple[Key, ...], named: str, example: str, faults: Faults) -> None:
    for key in keys:
        if key.required and key.name not in given:
            study_fault(faults, f"{named} has no {key.name} ({key.meaning})", f"write e.g. `{example}`")


def _column(value: Any, named: str, faults: Faults) -> str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value.strip() if value else None
    study_fault(faults, f"{named} is {shown(value)}", "give the name of a column")
    return None


def _time(value: Any, faults: Faults) -> TimeColumn:
    example = "time: {column: os_months, unit: months}"
    keys = known_keys(value, TIME_KEYS, "columns: time", example, faults)
    if not isinstance(value, dict):
        return TimeColumn()
    _need(keys, TIME_KEYS, "columns: time", example, faults)
    unit = keys.get("unit", "days")
    if not isinstance(unit, str) or unit not in DAYS:
        to_do = f"{suggestion(str(unit), list(DAYS))}write one of {', '.join(DAYS)}"
        study_fault(faults, f"columns: time: unit is {shown(unit)}", to_do)
        unit = "days"
    return TimeColumn(_column(keys.get("column"), "columns: time: column", faults) or TimeColumn.column, unit)


def _event(value: Any, faults: Faults) -> EventColumn:
    example = "event: {column: vital_status, event: Dead, censored: Alive}"
    keys = known_keys(value, EVENT_KEYS, "columns: event", example, faults)
    if not isinstance(value, dict):
        return EventColumn()
    _need(keys, EVENT_KEYS, "columns: event", example, faults)
    event, censored = (_values(keys.get(kind), kind, faults) for kind in ("event", "censored"))
    if not event and not censored:
        event, censored = EventColumn.event, EventColumn.censored
    if both := sorted(set(event) & set(censored)):
        study_fault(faults, f"columns: event: {both[0]!r} means event and censored", "list a value under one of them")
    column = _column(keys.get("column"), "columns: event: column", faults) or EventColumn.column
    return EventColumn(column, event, censored)


def _values(value: Any, kind: str, faults: Faults) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = value if isinstance(value, list) and value else [value]
    if not all(isinstance(one, str | int | float) and normal_value(one) for one in listed):
        to_do = "give the value, or a list of the values, that the column holds"
        study_fault(faults, f"columns: event: {kind} is {shown(value)}", to_do)
        return ()
    return tuple(dict.fromkeys(map(normal_value, listed)))
