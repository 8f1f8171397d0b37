"""The JSON schema and the reader of study.yaml know the same keys."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cropkt.data.faults import Faults
from cropkt.data.study_yaml.schema import study_schema
from cropkt.data.study_yaml.settings import read_settings
from cropkt.errors import StudyError

LEAST = """
name: uni2h-dss
labels: labels/{cohort}.csv
encoders:
  uni2-h: {dim: 1536, features: "features/TCGA-{project}/{slide}.h5"}
"""
MAPPED = """
name: hospital
folds: 5
labels: ["clinical/{cohort}.csv", "more/{cohort}.tsv"]
columns:
  patient: case_id
  slide: slide_id
  time: {column: os_months, unit: months}
  event: {column: vital_status, event: [Dead, "1:DECEASED", 1], censored: Alive}
  project: project
  site: hospital
  clinical: [age, sex, stage]
ids: {patient: first 8}
splits: splits/{cohort}/{fold}.csv
splits_columns: {train: train, test: val}
encoders:
  uni2-h: {dim: 1536, features: ["features/TCGA-{project}*/{slide}.h5", "more/*/{slide}.h5"]}
  conch: {dim: 512, features: "/data/conch/{slide}.pt"}
cohorts: {kipan: [kirc, kirp, kich], glasgow: }
seed: 7
unmatched: leave_out
"""
ONE_TABLE = """
name: pan-cancer
labels: all.csv
columns: {patient: case_id, time: {column: days, unit: days}, event: {column: censorship, censored: 1}, cohort: cancer}
encoders: {x: {dim: 8, features: "x/{slide}.h5"}}
cohorts: [acc, uvm]
"""
EXAMPLES = {"least": LEAST, "mapped": MAPPED, "one table": ONE_TABLE}


def test_the_schema_for_editors_is_the_readers() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "study.schema.json"
    assert json.loads(page.read_text()) == json.loads(json.dumps(study_schema())), (
        "write docs/study.schema.json anew from study_schema()"
    )


def read(folder: Path, values: Any) -> list[str]:
    """What the reader finds wrong."""
    (folder / "study.yaml").write_text(yaml.safe_dump(values))
    faults = Faults("study")
    try:
        read_settings(folder, faults)
    except StudyError as error:
        return str(error).splitlines()
    return [fault.message for fault in faults.found]


def valid(values: Any) -> bool:
    return jsonschema.Draft202012Validator(study_schema()).is_valid(values)


def mappings(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in `values` mappings with fixed keys are."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from mappings(value, (*path, key))


def places(example: str) -> list[tuple[str, ...]]:
    return [place for place in mappings(yaml.safe_load(example)) if place[:-1] not in (("encoders",), ("cohorts",))]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(study_schema())


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_valid_for_both(tmp_path: Path, example: str) -> None:
    values = yaml.safe_load(EXAMPLES[example])
    assert valid(values)
    assert read(tmp_path, values) == []


@pytest.mark.parametrize("place", places(MAPPED), ids=".".join)
def test_a_misspelt_key_is_refused_by_both(tmp_path: Path, place: tuple[str, ...]) -> None:
    values = yaml.safe_load(MAPPED)
    parent = values
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1] + "x"] = parent.pop(place[-1])
    assert not valid(values)
    found = read(tmp_path, values)
    assert any(f"unknown key '{place[-1]}x'" in line and f"did you mean '{place[-1]}'" in line for line in found)


WRONG: dict[str, tuple[tuple[str, ...], Any]] = {
    "no name": (("name",), None),
    "name with a folder": (("name",), "a/b"),
    "one fold": (("folds",), 1),
    "half a fold": (("folds",), 2.5),
    "no label pattern": (("labels",), []),
    "unit of weeks": (("columns", "time", "unit"), "weeks"),
    "time in a text": (("columns", "time"), "os_months"),
    "no unit": (("columns", "time", "unit"), None),
    "event of a list of lists": (("columns", "event", "event"), [["Dead"]]),
    "clinical in a text": (("columns", "clinical"), "age"),
    "ids in a text": (("ids",), "first 8"),
    "splits without test": (("splits_columns",), {"train": "train"}),
    "encoder without width": (("encoders", "conch", "dim"), None),
    "encoder as wide as text": (("encoders", "conch", "dim"), "512"),
    "encoder named by a path": (("encoders", "a/b"), {"dim": 2, "features": "{slide}.h5"}),
    "no encoder": (("encoders",), {}),
    "cohort named by a path": (("cohorts",), ["a/b"]),
    "cohorts in a text": (("cohorts",), "acc"),
    "table named by a path": (("cohorts", "kipan"), ["../kirc"]),
    "negative seed": (("seed",), -1),
    "unmatched": (("unmatched",), "ignore"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_by_both(tmp_path: Path, case: str) -> None:
    place, value = WRONG[case]
    values = copy.deepcopy(yaml.safe_load(MAPPED))
    parent = values
    for key in place[:-1]:
        parent = parent[key]
    if value is None:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    assert not valid(values)
    assert read(tmp_path, values)


def test_small_studies_are_valid(small_study: Callable) -> None:
    assert valid(small_study("acc").settings())
