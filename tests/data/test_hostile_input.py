"""Input made to hang or to crash is refused within seconds of processor time, in one message."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from cropkt.data.study import open_study
from cropkt.errors import StudyError

SECONDS = 2.0
"""Processor time: a busy machine does not add to it."""


@pytest.fixture
def quickly() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def refusal(folder: Path) -> str:
    with pytest.raises(StudyError) as refused:
        open_study(folder)
    return str(refused.value)


def bomb(levels: int = 30) -> str:
    """A "billion laughs": each level holds the one below nine times."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


YAML = {
    "alias bomb": (bomb(), "not valid YAML (more than 20000 values)"),
    "alias of itself": ("a: &a {b: [*a]}", "row 1: not valid YAML (an alias refers to what it is a part of)"),
    "deep lists": ("name: " + "[" * 40_000, "row 1: not valid YAML (nested more than 12 deep)"),
    "deep mappings": ("{a: " * 10_000, "row 1: not valid YAML (nested more than 12 deep)"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(400)), "nested more than 12 deep"),
    "20 MB": ("# " + "x" * 20_000_000, "holds 20 MB; at most 100 kB are read"),
    "many keys": ("\n".join(f"k{n}: {n}" for n in range(7_000)), "unknown key 'k0'"),
    "long key": ("? " + "k" * 99_000 + "\n: 1", "unknown key"),
    "twice": ("name: a\nname: b", "row 2: not valid YAML (the key 'name' is given twice)"),
    "long number": ("folds: " + "9" * 5000, "not valid YAML"),
    "no date": ("name: 2001-99-99", "not valid YAML"),
    "python object": ("name: !!python/object/apply:os.system [ls]", "row 1: not valid YAML"),
    "NUL": ("name: a\nfolds: \0", "study.yaml: holds a NUL byte (line 2)"),
    "tab": ("name:\n\t- a", "row 2: not valid YAML"),
    "empty": ("", "holds no `key: value` lines"),
}


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("case", YAML)
def test_a_hostile_study_yaml_is_refused(tmp_path: Path, case: str) -> None:
    text, expected = YAML[case]
    (tmp_path / "study.yaml").write_text(text)
    message = refusal(tmp_path)
    assert expected in message
    assert len(message) < 10_000


KEYS = {
    "wide format": ({"labels": "{cohort:>999999999}.csv"}, "write plain {cohort}, without a format"),
    "wide features": (
        {"encoders": {"x": {"dim": 6, "features": "{slide:0>999999999}.h5"}}},
        "write plain {slide}, without a format",
    ),
    "conversion": ({"splits": "{cohort!r}/{fold}.csv"}, "write plain {cohort}, without a format"),
    "attribute": ({"labels": "{cohort.__class__}.csv"}, "unknown {cohort.__class__}"),
    "nested": ({"labels": "{cohort:{cohort}}.csv"}, "write plain {cohort}"),
    "long pattern": ({"labels": "{cohort}" + "/x" * 20_000}, "give a path of at most 1000 characters"),
    "NUL in a pattern": ({"labels": "{cohort}\0.csv"}, "give a path of at most 1000 characters"),
    "many folds": ({"folds": 10**12}, "folds is 1000000000000; give a whole number of 2 or more, at most 100"),
    "huge seed": ({"seed": 10**40}, "seed is 1000"),
    "folds of infinity": ({"folds": float("inf")}, "folds is inf"),
    "wide encoder": (
        {"encoders": {"x": {"dim": 10**12, "features": "{slide}.h5"}}},
        "dim of encoder x is 1000000000000",
    ),
    "any depth": ({"encoders": {"x": {"dim": 6, "features": "**/{slide}.h5"}}}, "* stands for the name of one folder"),
}


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("case", KEYS)
def test_a_hostile_key_is_refused(small_study: Callable, case: str) -> None:
    keys, expected = KEYS[case]
    study = small_study("acc")
    study.set(**keys)
    assert expected in refusal(study.folder)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_latin(path: Path) -> None:
    path.write_bytes("Müller, Köln".encode("latin-1"))


def make_binary(path: Path) -> None:
    path.write_bytes(b"patient_id,\0\0\0\n" * 10)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


FILES = {
    "pipe": (make_pipe, "is a named pipe, not a file"),
    "device": (make_device, "is a device, not a file"),
    "folder": (make_folder, "is a folder, not a file"),
    "latin-1": (make_latin, "is not text in UTF-8 (byte 2)"),
    "binary": (make_binary, "holds a NUL byte (line 1)"),
    "link to itself": (make_loop, "cannot be looked at"),
}


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("place", ["study.yaml", "labels/acc.csv", "splits/acc/splits_1.csv"])
@pytest.mark.parametrize("case", FILES)
def test_what_is_no_text_file_is_refused(small_study: Callable, case: str, place: str) -> None:
    make, expected = FILES[case]
    study = small_study("acc")
    study.set(cohorts=["acc"])
    open_study(study.folder)
    path = study.folder / place
    path.unlink()
    make(path)
    message = refusal(study.folder)
    if (case, place) == ("link to itself", "splits/acc/splits_1.csv"):
        expected = "splits of folds 0, 2 are there"
    assert f"{place}: {expected}" in message or expected.startswith("splits")
    assert expected in message
    assert message.count(expected) == 1


@pytest.mark.usefixtures("quickly")
def test_a_table_of_another_kind_or_size_is_refused(small_study: Callable) -> None:
    study = small_study("acc")
    study.set(cohorts=["acc"])
    with open(study.labels("acc"), "wb") as stream:
        stream.truncate(60_000_000_000)  # a sparse file
    assert "holds 60000 MB; at most 50 MB are read" in refusal(study.folder)
    study.labels("acc").write_text('patient_id,"' + "x" * 200_000)
    assert "cannot be read after row 1 (field larger than field limit" in refusal(study.folder)
    study.labels("acc").write_text(",".join(f"gene{number}" for number in range(1_000_000)))
    assert "has 1,000,000 columns; at most 100,000 are read" in refusal(study.folder)
    for suffix, expected in (
        (".xlsx", "is a spreadsheet; save the sheet as CSV"),
        (".parquet", "is not a Parquet table"),
    ):
        study.labels("acc").with_suffix(suffix).write_bytes(b"PK\3\4 not really")
        study.set(labels="labels/{cohort}" + suffix)
        assert f"labels/acc{suffix}: {expected}" in refusal(study.folder)


ESCAPES = ["../../escape", "..", "a/b", "/etc/passwd", "a\\b"]


@pytest.mark.parametrize(
    ("column", "value"),
    [(column, value) for column in ("patient_id", "project") for value in ESCAPES]
    + [("pathology_id", value) for value in ESCAPES if ".." in value],
)
def test_an_id_cannot_leave_its_folder(small_study: Callable, column: str, value: str) -> None:
    study = small_study("acc")
    study.set(encoders={"x": {"dim": 6, "features": "features/{project}/{patient}/{slide}.h5"}})
    study.set_cell("acc", 4, column, value)
    message = refusal(study.folder)
    assert f"labels/acc.csv, row 4: {column} is {value!r}; give a plain name" in message
    assert ": 1 fault;" in message


@pytest.mark.parametrize("value", ["a/{}.svs", "/etc/{}", "a\\{}.ndpi"])
def test_of_a_slides_path_in_a_table_only_the_last_part_counts(small_study: Callable, value: str) -> None:
    study = small_study("acc")
    study.set_cell("acc", 4, "pathology_id", value.format("TCGA-AC-0001-01Z-00-DX1"))
    slides = open_study(study.folder).cohorts["acc"].slides
    assert slides["path"].tolist()[2].endswith("features/TCGA-ACC/TCGA-AC-0001-01Z-00-DX1.h5")


NAMES = ["../escape", "a/b", ".hidden", "-flag", "a b", "x" * 65, "\u00e9", ""]


@pytest.mark.parametrize("value", NAMES)
def test_names_of_studies_encoders_cohorts_and_tables_stay_names(small_study: Callable, value: str) -> None:
    study = small_study("acc")
    before = study.settings()
    encoder = before["encoders"]["uni2-h"]
    for keys in (
        {"name": value},
        {"encoders": {value: encoder}},
        {"cohorts": ["acc", value]},
        {"cohorts": {"acc": [value]}},
    ):
        study.set(**(before | {"cohorts": None} | keys))
        message = refusal(study.folder)
        assert "a name has up to 64 letters" in message or (keys == {"name": ""} and "name is ''" in message)
    assert sorted(path.name for path in study.folder.iterdir()) == ["features", "labels", "study.yaml"]
    assert sorted(path.name for path in study.folder.parent.iterdir()) == ["study"]


@pytest.mark.parametrize("word", ["chance", "random", "size", "mean_cox", "self", "ALL", "oracle", "null", "nan"])
def test_words_of_results_are_no_cohorts(small_study: Callable, word: str) -> None:
    study = small_study("acc")
    study.set(cohorts=["acc", word])
    assert f"a cohort is named {word.lower()!r}, which results use for something else" in refusal(study.folder)


def test_names_equal_but_for_case_are_refused(small_study: Callable) -> None:
    study = small_study("acc")
    study.set(cohorts=["acc", "Acc"])
    assert "cohort acc is listed twice" in refusal(study.folder)
    study.set(cohorts={"acc": None, "ACC": None})
    assert "cohort acc is listed twice" in refusal(study.folder)
    encoder = study.settings()["encoders"]["uni2-h"]
    study.set(cohorts=None, encoders={"uni": encoder, "UNI": encoder})
    assert "encoder UNI is there in another case too" in refusal(study.folder)
    assert yaml.safe_load((study.folder / "study.yaml").read_text())["encoders"].keys() == {"uni", "UNI"}
