"""`study.yaml`: what a study promises. Unknown keys are refused; every key that is wrong is named."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from cropkt.cohorts import COHORTS, in_registry_order
from cropkt.data.faults import Faults
from cropkt.data.features import SUFFIXES
from cropkt.errors import StudyError

STUDY_FILE = "study.yaml"
DEFAULT_SPLITS = "splits/{cohort}/splits_{fold}.csv"
UNMATCHED = ("error", "leave_out")
KEYS = ("name", "folds", "labels", "splits", "encoders", "cohorts", "seed", "unmatched")


@dataclass(frozen=True)
class Encoder:
    """The foundation model that made the features.

    `dim` is the width D of a feature vector, `features` the pattern of a slide's file relative to the study folder (or
    absolute), with {project} (without "TCGA-"), {slide}, {cohort} and {patient}.
    """

    name: str
    dim: int
    features: str


@dataclass(frozen=True)
class StudySettings:
    """The keys of study.yaml, checked. `cohorts` is None where the file does not list them."""

    name: str
    folds: int
    labels: str
    splits: str
    encoders: dict[str, Encoder]
    cohorts: tuple[str, ...] | None
    seed: int | None
    unmatched: str


def read_settings(folder: Path, faults: Faults) -> StudySettings:
    """Read `folder`/study.yaml. Faults it can live with go to `faults`; StudyError where reading cannot go on."""
    values = _load(folder)
    for key in values:
        if key not in KEYS:
            _fault(faults, f"unknown key {key!r}", f"{suggestion(str(key), KEYS)}the keys are {', '.join(KEYS)}")

    name = _string(values, "name", faults, "the study's name, as results are filed under it")
    labels = _pattern(values, "labels", ("cohort",), (), faults)
    splits = _pattern(values, "splits", ("cohort", "fold"), ("fold",), faults, default=DEFAULT_SPLITS)
    encoders = _encoders(values.get("encoders"), faults)
    folds = _integer(values, "folds", 5, faults, least=2)
    seed = _integer(values, "seed", None, faults, least=0)
    cohorts = _cohorts(values.get("cohorts"), faults)
    unmatched = values.get("unmatched", "error")
    if unmatched not in UNMATCHED:
        _fault(faults, f"unmatched is {unmatched!r}", f"write one of {', '.join(UNMATCHED)}")
        unmatched = "error"
    if cohorts is None or len(cohorts) > 1:
        for key, pattern in (("labels", labels), ("splits", splits)):
            if pattern and "{cohort" not in pattern:
                _fault(faults, f"{key} is {pattern!r}", "it needs {cohort}, as the study has more than one cohort")
                labels = None if key == "labels" else labels
    if labels is None or splits is None or folds is None or not encoders:
        faults.raise_any()
    assert labels is not None and splits is not None and folds is not None  # noqa: PT018
    return StudySettings(name or folder.name, folds, labels, splits, encoders, cohorts, seed, unmatched)


def suggestion(word: str, known: Collection[str]) -> str:
    """`did you mean 'folds'? ` for the entry of `known` nearest to `word`, or an empty string."""
    near = get_close_matches(word.lower(), list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def study_path(folder: Path, pattern: str, **values: str | int) -> Path:
    """The path `pattern` stands for, relative to `folder` unless it is absolute or starts with ~."""
    return Path(os.path.join(folder, os.path.expanduser(pattern.format(**values))))


def _load(folder: Path) -> dict[Any, Any]:
    path = folder / STUDY_FILE
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"{folder} has no {STUDY_FILE}" if folder.is_dir() else f"there is no folder {folder}"
        raise StudyError(f"{what}; --study names a folder with a {STUDY_FILE} that says where its files are") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read ({error}); give a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", row {mark.line + 1}" if mark else ""
        raise StudyError(
            f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)}); mend that line"
        ) from error
    if not isinstance(values, dict):
        raise StudyError(f"{path}: holds no `key: value` lines; it needs name, labels and encoders")
    return values


def _fault(faults: Faults, what: str, to_do: str) -> None:
    faults.add("study.yaml", STUDY_FILE, what, to_do)


def _string(values: Mapping[Any, Any], key: str, faults: Faults, meaning: str) -> str | None:
    value = values.get(key)
    if isinstance(value, str) and value.strip():
        return value.strip()
    _fault(faults, f"{key} is missing" if value is None else f"{key} is {value!r}, not a text", f"give {meaning}")
    return None


def _integer(values: Mapping[Any, Any], key: str, default: int | None, faults: Faults, *, least: int) -> int | None:
    value = values.get(key, default)
    if value is default or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
        return value
    _fault(faults, f"{key} is {value!r}", f"give a whole number of {least} or more")
    return None


def _pattern(
    values: Mapping[Any, Any],
    key: str,
    allowed: Collection[str],
    needed: Collection[str],
    faults: Faults,
    *,
    default: str | None = None,
    named: str | None = None,
) -> str | None:
    """The path pattern under `key` if its {placeholders} are `allowed` and hold those `needed`, else a fault."""
    named = named or key
    value = values.get(key, default)
    if not isinstance(value, str) or not value.strip():
        shown = "is missing" if value is None else f"is {value!r}, not a path pattern"
        braced = ", ".join(f"{{{field}}}" for field in allowed)
        _fault(faults, f"{named} {shown}", f"give a path pattern with {braced}")
        return None
    value = value.strip()
    try:
        fields = {field for _, field, _, _ in Formatter().parse(value) if field is not None}
    except ValueError as error:
        _fault(faults, f"{named} is {value!r} ({error})", "close every brace")
        return None
    unknown = sorted(fields - set(allowed))
    missing = sorted(set(needed) - fields)
    if unknown:
        braced = ", ".join(f"{{{field}}}" for field in allowed)
        hint = suggestion(unknown[0], allowed)
        _fault(faults, f"{named} is {value!r} with an unknown {{{unknown[0]}}}", f"{hint}it may use {braced}")
    if missing:
        _fault(faults, f"{named} is {value!r}", f"it needs {{{missing[0]}}}")
    return None if unknown or missing else value


def _encoders(value: Any, faults: Faults) -> dict[str, Encoder]:
    example = 'write e.g. `uni2-h: {dim: 1536, features: "features/TCGA-{project}/{slide}.h5"}` under encoders'
    if not isinstance(value, dict) or not value:
        _fault(faults, "encoders is missing" if value is None else f"encoders is {value!r}", example)
        return {}
    encoders = {}
    for name, keys in value.items():
        if not isinstance(keys, dict):
            _fault(faults, f"encoder {name} is {keys!r}", example)
            continue
        for key in keys:
            if key not in ("dim", "features"):
                hint = suggestion(str(key), ("dim", "features"))
                _fault(faults, f"encoder {name} has an unknown key {key!r}", f"{hint}its keys are dim and features")
        before = len(faults.found)
        fields = ("project", "slide", "cohort", "patient")
        features = _pattern(keys, "features", fields, ("slide",), faults, named=f"features of encoder {name}")
        dim = keys.get("dim")
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            _fault(faults, f"dim of encoder {name} is {dim!r}", "give the width of its feature vectors, e.g. 1536")
        elif features and "{slide}" not in Path(features).name:
            _fault(faults, f"features of encoder {name} is {features!r}", "the file's own name needs {slide}")
        elif features and Path(features).suffix not in SUFFIXES:
            _fault(faults, f"features of encoder {name} is {features!r}", f"it must end in {', '.join(SUFFIXES)}")
        elif features and len(faults.found) == before:
            encoders[str(name)] = Encoder(str(name), dim, features)
    return encoders


def _cohorts(value: Any, faults: Faults) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(code, str) and code.strip() for code in value):
        _fault(faults, f"cohorts is {value!r}", f"give a list of codes, e.g. [{', '.join(list(COHORTS)[:3])}]")
        return None
    codes = [code.strip().lower() for code in value]
    for code in sorted({code for code in codes if codes.count(code) > 1}):
        _fault(faults, f"cohort {code} is listed twice", "list it once")
    return in_registry_order(codes)
