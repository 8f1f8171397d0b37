"""A broken study is refused at once, in one message that names everything that is wrong."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cropkt.cohorts import COHORTS
from cropkt.data.study import open_study
from cropkt.errors import StudyError


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(StudyError) as refused:
        open_study(folder, **options)
    return str(refused.value)


def test_thirteen_faults_at_once_are_all_named(small_study: Callable) -> None:
    study = small_study("acc", "uvm", "meso")
    open_study(study.folder)
    rows = study.rows("acc")
    study.set(fold=5)
    study.set_cell("acc", 2, "t", "-3")
    study.set_cell("acc", 5, "t", "soon")
    study.set_cell("acc", 6, "e", "2")
    study.set_cell("acc", 11, "t", "7")  # the patient's other slide says 160
    study.write_rows("acc", [*study.rows("acc"), rows[9], ["", "TCGA-XX-9999-DX1", "5", "1", "TCGA-ACC"]])
    study.set_cell("uvm", 4, "pathology_id", "TCGA-UV-0002-01Z-00-DX1")
    study.features("UVM", "TCGA-UV-0005-01Z-00-DX1").unlink()
    tested = study.split("meso", 0).read_text().splitlines()[1].split(",")
    study.split("meso", 0).write_text(study.split("meso", 0).read_text() + f"{tested[1]},\nTCGA-ME-7777,\n")
    study.split("uvm", 2).unlink()

    message = refusal(study.folder)
    for expected in (
        r"study.yaml: unknown key 'fold'; did you mean 'folds'\?",
        r"labels/acc.csv, row 2, patient TCGA-AC-0000, slide TCGA-AC-0000-01Z-00-DX1: t is -3; give days",
        r"labels/acc.csv, row 5, patient TCGA-AC-0002, slide \S+: t is 'soon', not a number; ",
        r"labels/acc.csv, row 6, patient TCGA-AC-0003, slide \S+: e is '2'; give 1",
        r"labels/acc.csv, row 11, patient TCGA-AC-0006, slide \S+: t is 7 here and 160 in row 10; all rows",
        r"labels/acc.csv, row 18, patient TCGA-AC-0006, slide \S+: the slide is in row 10 already; ",
        r"labels/acc.csv, row 19, slide TCGA-XX-9999-DX1: no patient_id; ",
        r"labels/uvm.csv, row 5, patient TCGA-UV-0002, slide \S+: the slide is patient TCGA-UV-0001's in row 4; ",
        r"labels/uvm.csv, row 9, patient TCGA-UV-0005, .*: no features: there is no features/TCGA-UVM/\S+h5; extract",
        r"splits/meso/splits_0.csv, row 2, patient TCGA-ME-\d+: in test, and in train in row 10; ",
        r"splits/meso/splits_0.csv, row 11, patient TCGA-ME-7777: in train, but not in the labels; ",
        r"splits/uvm/splits_0.csv: splits of folds 0, 1 are there, but study.yaml says folds: 3; ",
        r"TCGA-UV-0001-01Z-00-DX1.h5, slide TCGA-UV-0001-01Z-00-DX1: slide without patient: no label row names it",
    ):
        assert re.search(expected, message), f"{expected}\n\n{message}"


CASES = {
    "negative time": (("t", "-0.5"), "row 4, patient TCGA-AC-0001, .*: t is -0.5; give days since diagnosis"),
    "time missing": (("t", ""), "row 4, .*: t is empty; give the time in days"),
    "time infinite": (("t", "inf"), "row 4, .*: t is 'inf', not a number"),
    "time NaN": (("t", "nan"), "row 4, .*: t is 'nan', not a number"),
    "event of two": (("e", "2"), "row 4, .*: e is '2'; give 1 .* or 0"),
    "event in words": (("e", "dead"), "row 4, .*: e is 'dead'"),
    "event missing": (("e", ""), "row 4, .*: e is empty"),
    "project missing": (("project", ""), "row 4, .*: project is empty"),
    "no pathology_id": (("pathology_id", ""), "row 4, patient TCGA-AC-0001: no features: pathology_id is empty"),
    "no file": (("pathology_id", "TCGA-S"), "row 4, .*slide TCGA-S: no features: there is no .*TCGA-S.h5"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_cell_is_named(small_study: Callable, case: str) -> None:
    (column, value), expected = CASES[case]
    study = small_study("acc")
    open_study(study.folder)
    study.set_cell("acc", 4, column, value)
    message = refusal(study.folder)
    assert re.search("labels/acc.csv, " + expected, message)
    if column in "te":  # and it is not told again as a slide without patient, or a split patient without label
        assert ": 1 fault; " in message


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("t", "7", "t is 7 here and 100 in row 2"),
        ("e", "1", "e is 1 here and 0 in row 2"),
        ("project", "TCGA-UVM", "project is TCGA-UVM here"),
    ],
)
def test_a_patient_with_two_labels_is_named(small_study: Callable, column: str, value: str, shown: str) -> None:
    study = small_study("acc")
    study.set_cell("acc", 3, column, value)
    message = refusal(study.folder)
    assert f"labels/acc.csv, row 3, patient TCGA-AC-0000, slide TCGA-AC-0000-01Z-00-DX2: {shown}" in message


def test_rows_are_lines_of_the_file_even_after_blank_ones(small_study: Callable) -> None:
    study = small_study("acc")
    study.set_cell("acc", 4, "t", "-1")
    lines = study.labels("acc").read_text().splitlines()
    study.labels("acc").write_text("\n".join([lines[0], "", "", *lines[1:]]) + "\n")
    assert "labels/acc.csv, row 6, patient TCGA-AC-0001" in refusal(study.folder)


def test_a_table_of_a_spreadsheet_with_byte_order_mark_is_read(small_study: Callable) -> None:
    study = small_study("acc")
    study.labels("acc").write_text("\ufeff" + study.labels("acc").read_text(), encoding="utf-8")
    assert len(open_study(study.folder).cohorts["acc"].labels) == 12


def test_missing_columns_are_named_with_those_there_are(small_study: Callable) -> None:
    study = small_study("acc")
    study.labels("acc").write_text(study.labels("acc").read_text().replace("t,e", "time,event", 1))
    message = refusal(study.folder)
    assert "labels/acc.csv: no column t, e (it has patient_id, pathology_id, time, event, project)" in message


def test_two_files_of_a_slide_are_a_fault(small_study: Callable) -> None:
    study = small_study("acc")
    plain = study.features("ACC", "TCGA-AC-0001-01Z-00-DX1")
    for uuid in ("AAAA", "BBBB"):
        plain.with_name(f"TCGA-AC-0001-01Z-00-DX1.{uuid}.h5").write_bytes(plain.read_bytes())
    plain.unlink()
    message = refusal(study.folder)
    assert "2 feature files: TCGA-AC-0001-01Z-00-DX1.AAAA.h5, TCGA-AC-0001-01Z-00-DX1.BBBB.h5; keep one" in message
    assert "slide without patient" not in message


def test_a_missing_slide_of_a_patient_with_another_is_a_fault(small_study: Callable) -> None:
    study = small_study("acc")
    study.features("ACC", "TCGA-AC-0003-01Z-00-DX2").unlink()
    message = refusal(study.folder)
    assert re.search("labels/acc.csv, row 7, patient TCGA-AC-0003, slide .*DX2: there is no features/", message)


def test_repeated_faults_do_not_drown_others(small_study: Callable) -> None:
    study = small_study("acc", "uvm", patients=60)
    rows = study.rows("acc")
    study.write_rows("acc", [rows[0], *([*row[:2], "-1", *row[3:]] for row in rows[1:])])
    study.set_cell("uvm", 2, "e", "9")
    message = refusal(study.folder)
    assert message.count(": t is -1") == 3
    assert "  ... and 77 more like it (negative time)" in message
    assert "labels/uvm.csv, row 2, patient TCGA-UV-0000, slide TCGA-UV-0000-01Z-00-DX1: e is '9'" in message
    assert "81 faults" in message.splitlines()[0]
    assert len(message.splitlines()) < 10


def test_a_folder_of_wrong_features_does_not_drown_others_either(small_study: Callable) -> None:
    study = small_study("acc", "uvm", patients=60)
    study.set(encoders={"uni2-h": study.settings()["encoders"]["uni2-h"] | {"dim": 1024}})
    study.set_cell("uvm", 2, "e", "9")
    message = refusal(study.folder)
    assert "features are 6 wide, encoder uni2-h says dim: 1024" in message
    assert "  ... and 154 more like it (wrong feature width)" in message
    assert "labels/uvm.csv, row 2" in message


@pytest.mark.parametrize("folds", [[0], [0, 1, 2, 3]])
def test_a_wrong_number_of_splits_is_a_fault(small_study: Callable, folds: list[int]) -> None:
    study = small_study("acc")
    open_study(study.folder)
    text = study.split("acc", 0).read_text()
    for fold in range(3):
        study.split("acc", fold).unlink()
    for fold in folds:
        study.split("acc", fold).write_text(text)
    assert f"splits of folds {', '.join(map(str, folds))} are there, but study.yaml says" in refusal(study.folder)


def test_a_patient_tested_in_two_folds_is_a_fault(small_study: Callable) -> None:
    study = small_study("acc")
    open_study(study.folder)
    study.split("acc", 1).write_text(study.split("acc", 0).read_text())
    assert "splits/acc/splits_1.csv, patient TCGA-AC-" in refusal(study.folder)


def test_fewer_patients_than_folds_is_a_fault_and_nothing_is_written(small_study: Callable) -> None:
    study = small_study("acc", "uvm", patients=4)
    study.set(folds=5)
    message = refusal(study.folder)
    assert "labels/acc.csv: 4 patients cannot fill 5 folds" in message
    assert not (study.folder / "splits").exists()


YAML_CASES = {
    "misspelt key": ({"encoder": {}}, "unknown key 'encoder'; did you mean 'encoders'"),
    "folds of one": ({"folds": 1}, "folds is 1; give a whole number of 2 or more"),
    "folds in words": ({"folds": "five"}, "folds is 'five'"),
    "folds of truth": ({"folds": True}, "folds is True"),
    "no labels": ({"labels": None}, "labels is missing; give a path pattern with {cohort}"),
    "labels without cohort": ({"labels": "labels.csv"}, "labels is 'labels.csv'; it needs {cohort}"),
    "unknown field": ({"labels": "{cohrt}.csv"}, "unknown {cohrt}; did you mean 'cohort'"),
    "open brace": ({"splits": "splits/{cohort"}, "splits is 'splits/{cohort'"),
    "splits without fold": ({"splits": "{cohort}.csv"}, "splits is '{cohort}.csv'; it needs {fold}"),
    "no encoders": ({"encoders": None}, "encoders is missing; write e.g."),
    "encoder without width": ({"encoders": {"x": {"features": "{slide}.h5"}}}, "dim of encoder x is None"),
    "encoder with width of zero": ({"encoders": {"x": {"dim": 0, "features": "{slide}.h5"}}}, "encoder x is 0"),
    "encoder with unknown key": (
        {"encoders": {"x": {"dim": 2, "features": "{slide}.h5", "dims": 3}}},
        "encoder x has an unknown key 'dims'; did you mean 'dim'",
    ),
    "features without slide": ({"encoders": {"x": {"dim": 2, "features": "a.h5"}}}, "it needs {slide}"),
    "features of unknown kind": ({"encoders": {"x": {"dim": 2, "features": "{slide}.npy"}}}, "must end in .h5"),
    "cohorts in one text": ({"cohorts": "acc"}, "cohorts is 'acc'; give a list of codes"),
    "cohort without a table": ({"cohorts": ["acc", "ucs"]}, "labels/ucs.csv: there is no such file"),
    "unmatched": ({"unmatched": "ignore"}, "unmatched is 'ignore'; write one of error, leave_out"),
    "no name": ({"name": None}, "name is missing"),
}


@pytest.mark.parametrize("case", YAML_CASES)
def test_a_wrong_key_of_study_yaml_is_named(small_study: Callable, case: str) -> None:
    keys, expected = YAML_CASES[case]
    study = small_study("acc")
    study.set(**keys)
    assert expected in refusal(study.folder)


def test_what_is_no_study_is_said(small_study: Callable, tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "nowhere")
    assert "has no study.yaml" in refusal(tmp_path)
    (tmp_path / "study.yaml").write_text("name: [a")
    assert "row 1: not valid YAML" in refusal(tmp_path)
    (tmp_path / "study.yaml").write_text("just words")
    assert "no `key: value` lines" in refusal(tmp_path)
    study = small_study("acc")
    study.labels("acc").unlink()
    assert "no cohort of the registry has such a file" in refusal(study.folder)


@pytest.mark.parametrize("other", ["train", "test"])
def test_a_validation_patient_that_trains_or_is_tested_is_named(small_study: Callable, other: str) -> None:
    study = small_study("acc")
    fold = open_study(study.folder).cohorts["acc"].folds[0]
    patient = getattr(fold, other)[0]
    lines = study.split("acc", 0).read_text().splitlines()
    third = ["validation", patient, *[""] * (len(lines) - 2)]
    rows = [f"{line},{cell}" for line, cell in zip(lines, third, strict=True)]
    study.split("acc", 0).write_text("\n".join(rows) + "\n")
    message = refusal(study.folder)
    assert f"patient {patient}" in message
    assert "a fold may use a patient once" in message


def test_an_unknown_cohort_is_refused_with_a_suggestion(small_study: Callable) -> None:
    message = refusal(small_study("acc", "uvm").folder, cohorts=["uvn"])
    assert "no cohort 'uvn'; did you mean 'uvm'? it has uvm, acc" in message


def test_a_feature_file_without_features_is_left_for_reading_with_its_reason(small_study: Callable) -> None:
    study = small_study("acc")
    path = study.features("ACC", "TCGA-AC-0001-01Z-00-DX1")
    with h5py.File(path, "w") as file:
        file["tiles"] = np.zeros((3, 6), np.float32)
    (warning,) = open_study(study.folder).warnings
    assert "it holds tiles; rename the array that holds them" in warning


def test_a_broken_study_of_26_cohorts_is_refused_in_seconds(small_study: Callable) -> None:
    """Of processor time: 1.8 of them on two cores, most for importing; reading the features would take many."""
    study = small_study(*COHORTS, patients=40)
    study.set_cell("thca", 30, "t", "-1")
    program = "import sys; from cropkt.data.study import open_study; open_study(sys.argv[1])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program, study.folder], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "labels/thca.csv, row 30" in done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 6
