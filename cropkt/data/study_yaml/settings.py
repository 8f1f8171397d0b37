"""`study.yaml`: what a study promises. Unknown keys are refused; every key that is wrong is named."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropkt.cohorts import COHORTS, RESERVED, in_registry_order
from cropkt.data.faults import Faults
from cropkt.data.study_yaml.columns import Columns
from cropkt.data.study_yaml.mapping import read_columns, read_id_rule, read_split_columns
from cropkt.data.study_yaml.patterns import checked_pattern, feature_patterns, one_or_more, study_path
from cropkt.data.study_yaml.schema import (
    ENCODER_KEYS,
    MOST_FOLDS,
    MOST_WIDE,
    NAME,
    NAME_IN_WORDS,
    STUDY_FILE,
    STUDY_KEYS,
    UNMATCHED,
    known_keys,
    shown,
    study_fault,
)
from cropkt.data.study_yaml.yaml_file import load_yaml
from cropkt.errors import StudyError

__all__ = ["STUDY_FILE", "Encoder", "StudySettings", "read_settings", "study_path"]

PACKS = "packs"
"""The folder of a study under which each encoder's pack is looked for where study.yaml names none."""
DEFAULT_SPLITS = "splits/{cohort}/splits_{fold}.csv"
BY_SITE = "site"
"""`splits: site`: made so that no tissue source site is in two folds' tests, and kept beside the others."""
SITE_SPLITS = "splits_by_site/{cohort}/splits_{fold}.csv"


@dataclass(frozen=True)
class Encoder:
    """The foundation model that made the features.

    `dim` is the width D of a feature vector, `features` the patterns of a slide's file relative to the study folder (or
    absolute), with {project} (without "TCGA-"), {slide}, {cohort} and {patient}, and * for a folder of any name. `pack`
    is the folder of its pack, likewise; by default packs/NAME.
    """

    name: str
    dim: int
    features: tuple[str, ...]
    pack: str = ""


@dataclass(frozen=True)
class StudySettings:
    """The keys of study.yaml, checked.

    `cohorts` has each cohort's table names, which stand for {cohort} in `labels`; None where the file lists no cohorts.
    `splits_columns` has the column of each part, None where the file does not say. `patient_rule`: see
    `persons.patient_id`.
    """

    name: str
    folds: int
    labels: tuple[str, ...]
    splits: str
    encoders: dict[str, Encoder]
    cohorts: dict[str, tuple[str, ...]] | None
    seed: int | None
    unmatched: str
    columns: Columns
    splits_columns: dict[str, str] | None
    patient_rule: str
    splits_by_site: bool = False


def read_settings(folder: Path, faults: Faults) -> StudySettings:
    """Read `folder`/study.yaml. Faults it can live with go to `faults`; StudyError where reading cannot go on."""
    values = known_keys(_load(folder), STUDY_KEYS, STUDY_FILE, "", faults)
    name = _name(values.get("name"), faults)
    before = len(faults.found)
    columns = read_columns(values.get("columns"), faults)
    rule = read_id_rule(values.get("ids"), faults)
    split_columns = read_split_columns(values.get("splits_columns"), faults)
    tables_are_known = len(faults.found) == before
    labels = one_or_more(values.get("labels"), "labels", ("cohort",), (), faults)
    by_site = values.get("splits") == BY_SITE
    given = SITE_SPLITS if by_site else values.get("splits", DEFAULT_SPLITS)
    splits = checked_pattern(given, "splits", ("cohort", "fold"), ("fold",), faults)
    encoders = _encoders(values.get("encoders"), faults)
    folds = _integer(values, "folds", 5, faults, least=2, most=MOST_FOLDS)
    seed = _integer(values, "seed", None, faults, least=0, most=2**63 - 1)
    cohorts = _cohorts(values.get("cohorts"), faults)
    unmatched = values.get("unmatched", "error")
    if unmatched not in UNMATCHED:
        study_fault(faults, f"unmatched is {shown(unmatched)}", f"write one of {', '.join(UNMATCHED)}")
        unmatched = "error"
    if cohorts is None or len(cohorts) > 1:
        labels = _with_cohort("labels", labels, faults) if columns.cohort is None else labels
        _with_cohort("splits", (splits,) if splits else (), faults)
    if not (labels and splits and folds and encoders and tables_are_known):
        faults.raise_any()
    assert splits is not None and folds is not None  # noqa: PT018
    settings = (name or folder.name, folds, labels, splits, encoders, cohorts, seed, unmatched)
    return StudySettings(*settings, columns, split_columns, rule, by_site)


def _load(folder: Path) -> dict[Any, Any]:
    try:
        return load_yaml(folder / STUDY_FILE)
    except FileNotFoundError as error:
        what = f"{folder} has no {STUDY_FILE}" if folder.is_dir() else f"there is no folder {folder}"
        raise StudyError(f"{what}; --study names a folder with a {STUDY_FILE} that says where its files are") from error


def _name(value: Any, faults: Faults) -> str | None:
    if isinstance(value, str) and re.fullmatch(NAME, value.strip()):
        return value.strip()
    if isinstance(value, str) and value.strip():
        study_fault(faults, f"name is {shown(value)}", NAME_IN_WORDS)
    else:
        what = "name is missing" if value is None else f"name is {shown(value)}, not a text"
        study_fault(faults, what, "give the study's name, as results are filed under it")
    return None


def _integer(
    values: Mapping[str, Any], key: str, default: int | None, faults: Faults, *, least: int, most: int
) -> int | None:
    value = values.get(key, default)
    if value is default or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
        return value
    at_most = f", at most {most}" if isinstance(value, int) and value > most else ""
    study_fault(faults, f"{key} is {shown(value)}", f"give a whole number of {least} or more{at_most}")
    return None


def _with_cohort(key: str, patterns: tuple[str, ...], faults: Faults) -> tuple[str, ...]:
    for pattern in patterns:
        if "{cohort}" not in pattern:
            to_do = "it needs {cohort}, as the study has more than one cohort"
            to_do += "; or name the column that says the cohort, `columns: {cohort: ...}`" if key == "labels" else ""
            study_fault(faults, f"{key} is {pattern!r}", to_do)
            return ()
    return patterns


def _encoders(value: Any, faults: Faults) -> dict[str, Encoder]:
    example = 'encoders: {uni2-h: {dim: 1536, features: "features/TCGA-{project}/{slide}.h5"}}'
    if not isinstance(value, dict) or not value:
        what = "encoders is missing" if value is None else f"encoders is {shown(value)}"
        study_fault(faults, what, f"write e.g. `{example}`")
        return {}
    encoders: dict[str, Encoder] = {}
    for name, given in value.items():
        before = len(faults.found)
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            study_fault(faults, f"an encoder is named {shown(name)}", NAME_IN_WORDS)
            continue
        if name.casefold() in map(str.casefold, encoders):
            study_fault(faults, f"encoder {name} is there in another case too", "give encoders different names")
        keys = known_keys(given, ENCODER_KEYS, f"encoder {name}", example, faults)
        if not isinstance(given, dict):
            continue
        patterns = feature_patterns(keys.get("features"), f"features of encoder {name}", faults)
        dim = keys.get("dim")
        if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= MOST_WIDE:
            to_do = f"give the width of its feature vectors, e.g. 1536 (at most {MOST_WIDE})"
            study_fault(faults, f"dim of encoder {name} is {shown(dim)}", to_do)
        elif len(faults.found) == before:
            encoders[name] = Encoder(name, dim, patterns, _pack(keys.get("pack", f"{PACKS}/{name}"), name, faults))
    return encoders


def _pack(value: Any, encoder: str, faults: Faults) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    study_fault(faults, f"pack of encoder {encoder} is {shown(value)}", "name the folder that `cropkt pack --to` wrote")
    return ""


def _cohorts(value: Any, faults: Faults) -> dict[str, tuple[str, ...]] | None:
    if value is None:
        return None
    example = f"give a list of codes, e.g. [{', '.join(list(COHORTS)[:3])}], or {{kipan: [kirc, kirp, kich]}}"
    items = [(code, None) for code in value] if isinstance(value, list) else []
    items = list(value.items()) if isinstance(value, dict) else items
    if not items:
        study_fault(faults, f"cohorts is {shown(value)}", example)
        return None
    cohorts: dict[str, tuple[str, ...]] = {}
    for code, tables in items:
        listed = [code] if tables is None else tables
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in (code, *listed)):
            study_fault(faults, f"cohorts is {shown(value)}", example)
            return None
        code = code.strip().lower()
        _check_cohort(code, cohorts, faults)
        for name in listed:
            if not re.fullmatch(NAME, name.strip()):
                study_fault(faults, f"a table of cohort {code} is named {shown(name)}", NAME_IN_WORDS)
        cohorts[code] = (code,) if tables is None else tuple(dict.fromkeys(name.strip() for name in listed))
    return {code: cohorts[code] for code in in_registry_order(cohorts)}


def _check_cohort(code: str, known: Collection[str], faults: Faults) -> None:
    if code in known:
        study_fault(faults, f"cohort {code} is listed twice", "list it once (upper and lower case are the same)")
    if not re.fullmatch(NAME, code):
        study_fault(faults, f"a cohort is named {shown(code)}", NAME_IN_WORDS)
    if code in RESERVED:
        what = f"a cohort is named {code!r}, which results use for something else"
        study_fault(faults, what, f"choose another name than {', '.join(RESERVED)}")
