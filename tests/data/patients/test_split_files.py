"""Split files as others write them: read for what they are, or refused with the likely cause."""

import csv
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import pytest
from small_studies import SmallStudy

from cropkt.data.patients.folds import Fold
from cropkt.data.study import open_study
from cropkt.errors import StudyError


def refusal(folder: Path) -> str:
    with pytest.raises(StudyError) as refused:
        open_study(folder)
    return str(refused.value)


def write(path: Path, columns: dict[str, Sequence[str]]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip_longest(*columns.values(), fillvalue=""))


def with_folds(small_study: Callable) -> tuple[SmallStudy, tuple[Fold, ...]]:
    study = small_study("acc")
    return study, open_study(study.folder).cohorts["acc"].folds


def slides_of(patients: Sequence[str], ending: str = "") -> list[str]:
    """The small study's slides of `patients`: two of every third patient."""
    return [
        f"{patient}-01Z-00-DX{slide + 1}{ending}"
        for patient in patients
        for slide in range(1 + (int(patient[-4:]) % 3 == 0))
    ]


@pytest.mark.parametrize("ending", ["", ".svs"])
@pytest.mark.parametrize("name", ["TCGA-AC", "GLA-X"])
def test_slides_in_a_split_are_read_as_their_patients(small_study: Callable, ending: str, name: str) -> None:
    study, folds = with_folds(small_study)
    table = study.labels("acc").read_text()
    rows = [line.split(",") for line in table.splitlines()]
    study.write_rows("acc", [rows[0], *([row[0].replace("TCGA-AC", name), *row[1:]] for row in rows[1:])])
    for number, fold in enumerate(folds):
        columns = {"train": slides_of(fold.train, ending), "test": slides_of(fold.test, ending)}
        write(study.split("acc", number), columns)
    opened = open_study(study.folder)
    renamed = [[[id_.replace("TCGA-AC", name) for id_ in part] for part in (fold.train, fold.test)] for fold in folds]
    assert [[list(fold.train), list(fold.test)] for fold in opened.cohorts["acc"].folds] == renamed
    assert opened.warnings == ("16 ids in split files are slides and are read as their patients (acc 16)",)


def test_a_patient_whose_slides_are_on_both_sides_is_a_fault_with_its_cause(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    train, test = slides_of(folds[0].train), slides_of(folds[0].test)
    second = next(slide for slide in test if slide.endswith("DX2"))
    write(study.split("acc", 0), {"train": [*train, second], "test": [slide for slide in test if slide != second]})
    message = refusal(study.folder)
    assert f"patient {second[:12]}: in test, and in train in row " in message
    assert "the file lists slides, and this patient's are on both sides; split by patient" in message


def test_val_without_test_is_never_guessed_at(small_study: Callable) -> None:
    """SurvPath and MCAT: an index column, train and val, and val is the test set."""
    study, folds = with_folds(small_study)
    for number, fold in enumerate(folds):
        index = [str(row) for row in range(len(fold.train))]
        write(study.split("acc", number), {"": index, "train": fold.train, "val": fold.test})
    message = refusal(study.folder)
    assert "splits/acc/splits_0.csv: no column test (it has train, val); " in message
    assert "say so with `splits_columns: {train: train, test: val}` in study.yaml" in message
    assert "not in the labels" not in message
    study.set(splits_columns={"train": "train", "test": "val"})
    assert open_study(study.folder).cohorts["acc"].folds == folds


def test_columns_of_any_name_can_be_mapped(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    for number, fold in enumerate(folds):
        write(study.split("acc", number), {"a": fold.train[2:], "b": fold.test, "c": fold.train[:2], "test": ["x"]})
    study.set(splits_columns={"train": "a", "test": "b", "validation": "c"})
    again = open_study(study.folder).cohorts["acc"].folds
    assert [(fold.train, fold.test, fold.validation) for fold in again] == [
        (fold.train[2:], fold.test, fold.train[:2]) for fold in folds
    ]
    study.set(splits_columns={"train": "a", "test": "d"})
    assert "splits/acc/splits_0.csv: no column d (it has a, b, c, test)" in refusal(study.folder)
    study.set(splits_columns={"train": "a", "test": "a"})
    assert "give every part a column of its own" in refusal(study.folder)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_fold_without_patients_is_a_fault(small_study: Callable, part: str) -> None:
    study, folds = with_folds(small_study)
    write(study.split("acc", 1), {"train": folds[1].train, "test": folds[1].test} | {part: []})
    assert f"splits/acc/splits_1.csv: column {part} names no patient; fill it, or remove" in refusal(study.folder)


def test_a_fold_emptied_by_missing_features_and_endpoints_says_so(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    first, *others = folds[2].test
    for patient in others:
        for slide in slides_of([patient]):
            study.features("ACC", slide).unlink()
    for row, cells in enumerate(study.rows("acc"), 1):
        if cells[0] == first:
            study.set_cell("acc", row, "e", "")
    study.set(unmatched="leave_out")
    message = refusal(study.folder)
    assert "splits/acc/splits_2.csv: none of the 4 patients in test is left (" in message
    assert "3 without features" in message
    assert "1 without time or event" in message
    assert ": 1 fault;" in message


def test_one_held_out_set_is_no_cross_validation(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    for number in range(3):
        write(study.split("acc", number), {"train": folds[0].train, "test": folds[0].test})
    message = refusal(study.folder)
    assert "splits/acc/splits_0.csv: the 3 files have the same test patients; this is one held-out set" in message
    assert ": 1 fault;" in message


def test_overlapping_tests_are_a_fault_with_the_likely_cause(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    patient = folds[0].test[0]
    train = [other for other in folds[1].train if other != patient]
    write(study.split("acc", 1), {"train": train, "test": [*folds[1].test, patient]})
    message = refusal(study.folder)
    assert f"splits/acc/splits_1.csv, patient {patient}: in test here and in splits/acc/splits_0.csv" in message
    assert "repeated random splits overlap and cannot be used" in message


@pytest.mark.parametrize("ids", [["True", "False"], ["BRCA-1", "BRCA-2", "BRCA-3"]])
def test_a_split_of_other_ids_altogether_is_one_fault(small_study: Callable, ids: list[str]) -> None:
    study, _ = with_folds(small_study)
    write(study.split("acc", 0), {"train": ids, "test": ids[:1] if ids[0] == "True" else ["BRCA-4"]})
    message = refusal(study.folder)
    assert "splits/acc/splits_0.csv: none of its " in message
    assert f"ids is in the labels (the first is {ids[0]!r})" in message
    assert "but not in the labels" not in message


def test_ids_of_samples_in_a_split_are_their_patients(small_study: Callable) -> None:
    study, folds = with_folds(small_study)
    for number, fold in enumerate(folds):
        columns = {"train": [f"{id_}-01A" for id_ in fold.train], "test": [id_.lower() for id_ in fold.test]}
        write(study.split("acc", number), columns)
    assert open_study(study.folder).cohorts["acc"].folds == folds
