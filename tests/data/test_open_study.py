"""A study that keeps its promises opens as what it is."""

import csv
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.data.study import open_study
from cropkt.errors import StudyError


def test_a_cohort_holds_labels_slides_and_folds(small_study: Callable) -> None:
    study = small_study("acc")
    opened = open_study(study.folder)
    cohort = opened.cohorts["acc"]

    assert (opened.name, opened.encoder.name, opened.encoder.dim) == ("small", "uni2-h", 6)
    assert (cohort.code, cohort.info.organ) == ("acc", "adrenal gland")
    assert list(cohort.labels.index) == [f"TCGA-AC-{number:04d}" for number in range(12)]
    assert cohort.labels["time"].tolist() == [100.0 + 10 * number for number in range(12)]
    assert cohort.labels["event"].tolist() == [0, 1] * 6
    assert set(cohort.labels["project"]) == {"TCGA-ACC"}
    assert cohort.labels["time"].dtype == np.float64
    assert cohort.labels["event"].dtype == np.int64
    assert len(cohort.slides) == 16
    assert cohort.slides["patches"].tolist()[:4] == [2, 3, 3, 4]
    assert Path(cohort.slides["path"].iloc[0]) == study.features("ACC", "TCGA-AC-0000-01Z-00-DX1")
    assert opened.warnings == ()


def test_every_patient_is_tested_once_and_never_trained_on_when_tested(small_study: Callable) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    tested = [patient for fold in cohort.folds for patient in fold.test]
    assert sorted(tested) == list(cohort.labels.index)
    for fold in cohort.folds:
        assert set(fold.train) == set(cohort.labels.index) - set(fold.test)


def test_slides_follow_the_patients_and_then_the_label_table(small_study: Callable) -> None:
    study = small_study("acc")
    header, *rows = study.rows("acc")
    study.write_rows("acc", [header, *reversed(rows)])
    slides = open_study(study.folder).cohorts["acc"].slides
    assert slides["patient_id"].is_monotonic_increasing
    assert slides["slide"].tolist()[:2] == ["TCGA-AC-0000-01Z-00-DX2", "TCGA-AC-0000-01Z-00-DX1"]


def test_a_joined_cohort_finds_each_project_in_its_own_folder(small_study: Callable) -> None:
    cohort = open_study(small_study("kipan").folder).cohorts["kipan"]
    assert set(cohort.labels["project"]) == {"TCGA-KIRC", "TCGA-KIRP", "TCGA-KICH"}
    folders = {Path(path).parent.name for path in cohort.slides["path"]}
    assert folders == {"TCGA-KIRC", "TCGA-KIRP", "TCGA-KICH"}


def test_projects_may_be_written_without_tcga(small_study: Callable) -> None:
    study = small_study("kipan")
    study.write_rows("kipan", [[*row[:4], row[4].removeprefix("TCGA-")] for row in study.rows("kipan")])
    cohort = open_study(study.folder).cohorts["kipan"]
    assert set(cohort.labels["project"]) == {"KIRC", "KIRP", "KICH"}
    assert len(cohort.slides) == 16


def test_a_file_name_may_go_on_after_the_slide(small_study: Callable) -> None:
    study = small_study("acc")
    plain = study.features("ACC", "TCGA-AC-0001-01Z-00-DX1")
    published = plain.with_name("TCGA-AC-0001-01Z-00-DX1.6C2F1A33-2C5B-4D32-A5E0.h5")
    plain.rename(published)
    slides = open_study(study.folder).cohorts["acc"].slides.set_index("slide")
    assert slides.loc["TCGA-AC-0001-01Z-00-DX1", "path"] == str(published)


def test_the_exact_name_comes_before_a_longer_one(small_study: Callable) -> None:
    study = small_study("acc")
    plain = study.features("ACC", "TCGA-AC-0001-01Z-00-DX1")
    plain.with_name("TCGA-AC-0001-01Z-00-DX1.6C2F1A33.h5").write_bytes(plain.read_bytes())
    slides = open_study(study.folder).cohorts["acc"].slides.set_index("slide")
    assert slides.loc["TCGA-AC-0001-01Z-00-DX1", "path"] == str(plain)


def test_a_slide_is_not_taken_for_another_whose_name_starts_alike(small_study: Callable) -> None:
    study = small_study("acc")
    plain = study.features("ACC", "TCGA-AC-0001-01Z-00-DX1")
    plain.rename(plain.with_name("TCGA-AC-0001-01Z-00-DX10.h5"))
    with pytest.raises(StudyError) as refused:
        open_study(study.folder)
    assert "patient TCGA-AC-0001, slide TCGA-AC-0001-01Z-00-DX1: no features" in str(refused.value)
    assert "slide TCGA-AC-0001-01Z-00-DX10: slide without patient" in str(refused.value)


def test_patients_of_time_zero_are_kept_and_counted(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    study.set_cell("acc", 4, "t", "0")
    study.set_cell("uvm", 4, "t", "0.0")
    opened = open_study(study.folder)
    assert opened.cohorts["acc"].labels.loc["TCGA-AC-0001", "time"] == 0
    assert opened.warnings == ("2 patients have a time of 0 days and are kept (uvm 1, acc 1)",)


def test_cohorts_come_in_the_registrys_order_and_in_any_case(small_study: Callable) -> None:
    study = small_study("acc", "uvm", "blca")
    assert list(open_study(study.folder).cohorts) == ["blca", "uvm", "acc"]
    assert list(open_study(study.folder, cohorts=["ACC", "Blca"]).cohorts) == ["blca", "acc"]
    study.set(cohorts=["ACC", "UVM"])
    assert list(open_study(study.folder).cohorts) == ["uvm", "acc"]


def test_a_cohort_outside_the_registry_may_be_listed(small_study: Callable) -> None:
    study = small_study("acc", "glasgow")
    assert list(open_study(study.folder).cohorts) == ["acc"]
    study.set(cohorts=["glasgow", "acc"])
    opened = open_study(study.folder)
    assert list(opened.cohorts) == ["acc", "glasgow"]
    assert opened.cohorts["glasgow"].info.group == "own cohort"


def test_one_cohort_of_a_flat_feature_folder_can_be_opened(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    flat = study.folder / "flat"
    flat.mkdir()
    for path in study.folder.glob("features/*/*.h5"):
        path.rename(flat / path.name)
    study.set(encoders={"uni2-h": {"dim": 6, "features": "flat/{slide}.h5"}})
    assert list(open_study(study.folder, cohorts=["acc"]).cohorts) == ["acc"]


def test_a_second_encoder_is_chosen_by_name(small_study: Callable) -> None:
    study = small_study("acc")
    encoders = study.settings()["encoders"]
    study.set(encoders=encoders | {"conch": {"dim": 512, "features": str(study.folder / "conch/{slide}.pt")}})
    assert open_study(study.folder).encoder.name == "uni2-h"
    assert open_study(study.folder, encoder="uni2-h").encoder.name == "uni2-h"
    with pytest.raises(StudyError, match="conch: there is no such folder; 12 patients of acc"):
        open_study(study.folder, encoder="conch")
    with pytest.raises(StudyError, match="no encoder 'uni2h'; did you mean 'uni2-h'"):
        open_study(study.folder, encoder="uni2h")


def test_validation_lists_are_read(small_study: Callable) -> None:
    study = small_study("acc")
    folds = open_study(study.folder).cohorts["acc"].folds
    for number, fold in enumerate(folds):
        lines = [["train", "val", "test"], *zip_padded(fold.train[2:], fold.train[:2], fold.test)]
        with open(study.split("acc", number), "w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    again = open_study(study.folder).cohorts["acc"].folds
    assert [fold.validation for fold in again] == [fold.train[:2] for fold in folds]
    assert [fold.train for fold in again] == [fold.train[2:] for fold in folds]


def zip_padded(*columns: tuple[str, ...]) -> list[list[str]]:
    length = max(map(len, columns))
    return [[column[row] if row < len(column) else "" for column in columns] for row in range(length)]


def test_leave_out_counts_what_has_no_counterpart(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    open_study(study.folder)  # makes the splits, with all patients
    study.features("ACC", "TCGA-AC-0001-01Z-00-DX1").unlink()  # the patient's only slide
    study.features("ACC", "TCGA-AC-0003-01Z-00-DX2").unlink()  # one slide of two
    study.set_cell("uvm", 4, "pathology_id", "")  # and its file is now nobody's
    rows = study.rows("uvm")
    study.write_rows("uvm", [row for row in rows if row[0] != "TCGA-UV-0005"])
    study.set(unmatched="leave_out")

    opened = open_study(study.folder)
    acc, uvm = opened.cohorts["acc"], opened.cohorts["uvm"]
    assert "TCGA-AC-0001" not in acc.labels.index
    assert acc.slides.query("patient_id == 'TCGA-AC-0003'")["slide"].tolist() == ["TCGA-AC-0003-01Z-00-DX1"]
    assert len(uvm.labels) == 10
    for cohort in (acc, uvm):
        for fold in cohort.folds:
            assert {*fold.train, *fold.test} <= set(cohort.labels.index)
    assert set(opened.warnings) == {
        "2 patients without features are left out (uvm 1, acc 1)",
        "1 slides without a feature file are left out (acc 1)",
        "2 feature files of slides no label row names are left out (uni2-h 2)",
        "1 patients of split files without a label are left out (uvm 1)",
    }


def test_leave_out_leaves_out_cohorts_without_any_features_unless_listed(small_study: Callable) -> None:
    study = small_study("acc", "uvm")
    for path in study.folder.glob("features/TCGA-UVM/*.h5"):
        path.unlink()
    study.set(unmatched="leave_out")
    opened = open_study(study.folder)
    assert list(opened.cohorts) == ["acc"]
    assert "left out, as none of their patients has features: uvm" in opened.warnings
    with pytest.raises(StudyError, match=r"labels/uvm.csv: no patient of the cohort has features"):
        open_study(study.folder, cohorts=["uvm"])


def test_unreadable_headers_are_left_for_reading(small_study: Callable) -> None:
    study = small_study("acc")
    study.features("ACC", "TCGA-AC-0001-01Z-00-DX1").write_bytes(b"not HDF5")
    opened = open_study(study.folder)
    assert opened.cohorts["acc"].slides.set_index("slide").loc["TCGA-AC-0001-01Z-00-DX1", "patches"] == 0
    (warning,) = opened.warnings
    assert "features/TCGA-ACC/TCGA-AC-0001-01Z-00-DX1.h5, patient TCGA-AC-0001" in warning


def test_patients_in_no_test_fold_are_counted(small_study: Callable) -> None:
    study = small_study("acc")
    open_study(study.folder)
    lines = study.split("acc", 0).read_text().splitlines()
    study.split("acc", 0).write_text("\n".join([lines[0], lines[1].split(",")[0] + ",", *lines[2:]]) + "\n")
    (warning,) = open_study(study.folder).warnings
    assert warning.startswith("1 patients are in no test fold")


class TestFingerprint:
    def test_is_the_same_when_the_study_moves(self, small_study: Callable, tmp_path: Path) -> None:
        study = small_study("acc")
        before = open_study(study.folder).cohorts["acc"].fingerprint
        study.folder.rename(tmp_path / "moved")
        assert open_study(tmp_path / "moved").cohorts["acc"].fingerprint == before

    @pytest.mark.parametrize("change", ["label", "split", "patches", "encoder"])
    def test_changes_with_what_a_model_learns_from(self, small_study: Callable, change: str) -> None:
        study = small_study("acc")
        before = open_study(study.folder).cohorts["acc"].fingerprint
        if change == "label":
            study.set_cell("acc", 4, "t", "111")
        elif change == "split":
            text = study.split("acc", 0).read_text().splitlines()
            study.split("acc", 0).write_text("\n".join([text[0], *reversed(text[1:])]) + "\n")
        elif change == "patches":
            study.write_slide("ACC", "TCGA-AC-0001-01Z-00-DX1", np.zeros((9, 6), np.float32))
        else:
            study.set(encoders={"other": study.settings()["encoders"]["uni2-h"]})
        assert open_study(study.folder).cohorts["acc"].fingerprint != before


def test_a_cohort_survives_pickling(small_study: Callable) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    again = pickle.loads(pickle.dumps(cohort))
    pd.testing.assert_frame_equal(again.slides, cohort.slides)
    assert (again.folds, again.fingerprint) == (cohort.folds, cohort.fingerprint)


def test_opening_needs_no_torch(small_study: Callable) -> None:
    study = small_study("acc")
    program = (
        "import sys; from cropkt.data.study import open_study; open_study(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, study.folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
