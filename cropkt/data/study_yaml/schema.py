"""The keys of study.yaml in one place: the reader knows no others, and editors get them as a JSON schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cropkt.data.faults import Faults
from cropkt.data.study_yaml.columns import DAYS
from cropkt.errors import suggestion

STUDY_FILE = "study.yaml"
UNMATCHED = ("error", "leave_out")
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
"""Names of studies, cohorts, tables and encoders: they become parts of file names."""
NAME_IN_WORDS = "a name has up to 64 letters, digits, - _ . and starts with a letter, digit or _"
MOST_FOLDS = 100
MOST_WIDE = 100_000
PARTS = ("train", "test", "validation")

_TEXT = {"type": "string", "minLength": 1}
_NAME = {"type": "string", "pattern": f"^{NAME}$"}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}
_VALUE = {"type": ["string", "number", "boolean"]}
_VALUES = {"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]}


@dataclass(frozen=True)
class Key:
    """A key: its `name`, the JSON schema of its value, what it means, and whether it must be there."""

    name: str
    schema: Mapping[str, Any]
    meaning: str
    required: bool = False


def _object(keys: tuple[Key, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key.name: {"description": key.meaning, **key.schema} for key in keys},
        "required": [key.name for key in keys if key.required],
        "additionalProperties": False,
    }


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping from names of the user's own to `value`."""
    return {
        "type": "object",
        "patternProperties": {f"^{NAME}$": value},
        "additionalProperties": False,
        "minProperties": 1,
    }


ENCODER_KEYS = (
    Key("dim", {"type": "integer", "minimum": 1, "maximum": MOST_WIDE}, "width D of a feature vector", required=True),
    Key(
        "features", _TEXTS, "pattern, or patterns, of a slide's file: {slide}, {project}, {cohort}, {patient}, * ", True
    ),
    Key("pack", _TEXT, "folder that `cropkt pack` wrote (default: packs/ENCODER, where there is one)"),
)
TIME_KEYS = (
    Key("column", _TEXT, "time to the event or to the last follow-up", required=True),
    Key("unit", {"enum": list(DAYS)}, "unit of the time: a month has 30.4375 days, a year 365.25", required=True),
)
EVENT_KEYS = (
    Key("column", _TEXT, "whether the event was seen", required=True),
    Key("event", _VALUES, "value, or values, that mean an event (default: 1, unless censored is given)"),
    Key("censored", _VALUES, "value, or values, that mean censored (default: 0, unless event is given)"),
)
COLUMN_KEYS = (
    Key("patient", _TEXT, "id of the patient (default: patient_id)"),
    Key("slide", _TEXT, "name of the slide; without it slides are found by the patient's id"),
    Key("time", _object(TIME_KEYS), "time and its unit (default: t, in days)"),
    Key("event", _object(EVENT_KEYS), "event and its coding (default: e, 1 or 0)"),
    Key("project", _TEXT, "TCGA project, or another part of a cohort; default: the table's or cohort's name"),
    Key("site", _TEXT, "hospital; default: the tissue source site in TCGA barcodes"),
    Key("cohort", _TEXT, "the cohort, where one table holds several"),
    Key("clinical", {"type": "array", "items": _TEXT}, "columns kept for clinical baselines, e.g. age, sex, stage"),
)
ID_KEYS = (
    Key("patient", _TEXT, "the patient in an id: tcga, first N, or a pattern such as {patient}_*", required=True),
)
SPLIT_KEYS = tuple(Key(part, _TEXT, f"column of {part} patients", part != "validation") for part in PARTS)
STUDY_KEYS = (
    Key("name", _NAME, "name of the study; results are filed under it", required=True),
    Key("folds", {"type": "integer", "minimum": 2, "maximum": MOST_FOLDS}, "folds of cross-validation (default: 5)"),
    Key("labels", _TEXTS, "pattern, or patterns, of the label tables, with {cohort}", required=True),
    Key(
        "columns",
        _object(COLUMN_KEYS),
        "columns of the label tables; where patient, time or event is not named, those left out are patient_id, "
        "pathology_id, t, e, project",
    ),
    Key("ids", _object(ID_KEYS), "which part of an id is the patient, where ids are not TCGA's"),
    Key(
        "splits",
        _TEXT,
        "pattern of split files, with {cohort} and {fold}; or site: made, with a hospital in one fold only",
    ),
    Key("splits_columns", _object(SPLIT_KEYS), "columns of the split files; default: train, test, validation"),
    Key("encoders", _named(_object(ENCODER_KEYS)), "foundation models whose features there are", required=True),
    Key(
        "cohorts",
        {
            "anyOf": [
                {"type": "array", "items": _NAME, "minItems": 1},
                _named({"type": ["array", "null"], "items": _NAME, "minItems": 1}),
            ]
        },
        "cohorts of the study, as a list, or each with the tables it joins: {kipan: [kirc, kirp, kich]}",
    ),
    Key("seed", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "seed of splits that are made"),
    Key("unmatched", {"enum": list(UNMATCHED)}, "error, or leave_out: leave out and count what has no counterpart"),
)


def study_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of study.yaml, for editors and other programs."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"cropkt {STUDY_FILE}"}
    return head | _object(STUDY_KEYS)


def study_fault(faults: Faults, what: str, to_do: str) -> None:
    """Note `what` is wrong in study.yaml, and what `to_do`."""
    faults.add(STUDY_FILE, STUDY_FILE, what, to_do)


def known_keys(values: Any, keys: tuple[Key, ...], named: str, example: str, faults: Faults) -> dict[str, Any]:
    """The `values` under those of `keys` that are there. Unknown keys, and values that are no mapping, are faults."""
    if not isinstance(values, dict):
        study_fault(faults, f"{named} is {shown(values)}", f"write e.g. `{example}`")
        return {}
    names = tuple(key.name for key in keys)
    for key in values:
        if key not in names:
            what = f"unknown key {shown(key)}" if named == STUDY_FILE else f"{named} has an unknown key {shown(key)}"
            study_fault(faults, what, f"{suggestion(str(key), names)}the keys are {', '.join(names)}")
    return {name: values[name] for name in names if values.get(name) is not None}


def shown(value: Any) -> str:
    """`value` as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
