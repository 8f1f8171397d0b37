"""One person is never on both sides of a fold, however the ids are written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_studies import SmallStudy

from cropkt.data.study import open_study
from cropkt.errors import StudyError


def refusal(folder: Path) -> str:
    with pytest.raises(StudyError) as refused:
        open_study(folder)
    return str(refused.value)


def renamed(study: SmallStudy, names: dict[int, str], code: str = "acc") -> SmallStudy:
    """The study with the patient of some 1-based lines of its table called otherwise."""
    for row, name in names.items():
        study.set_cell(code, row, "patient_id", name)
    return study


def test_two_samples_of_a_person_are_one_patient(small_study: Callable) -> None:
    study = renamed(small_study("acc"), {2: "TCGA-AC-0000-01A", 3: "TCGA-AC-0000-06A", 4: "tcga-ac-0001"})
    opened = open_study(study.folder)
    cohort = opened.cohorts["acc"]
    assert list(cohort.labels.index) == [f"TCGA-AC-{number:04d}" for number in range(12)]
    assert (cohort.slides["patient_id"] == "TCGA-AC-0000").sum() == 2
    expected = "1 patients have ids written in several ways, and are one patient each (acc 1)"
    assert opened.warnings == (expected,)
    tested = [patient for fold in cohort.folds for patient in fold.test]
    assert sorted(tested) == list(cohort.labels.index)


def test_ids_equal_but_for_case_are_one_patient_under_the_first(small_study: Callable) -> None:
    study = renamed(small_study("acc"), {2: "Gla-1", 3: "GLA-1"})
    cohort = open_study(study.folder).cohorts["acc"]
    assert "Gla-1" in cohort.labels.index
    assert "GLA-1" not in cohort.labels.index
    assert len(cohort.labels) == 12


def test_samples_that_disagree_are_named_with_their_rows(small_study: Callable) -> None:
    study = renamed(small_study("acc"), {2: "TCGA-AC-0000-01A", 3: "TCGA-AC-0000-06A"})
    study.set_cell("acc", 3, "t", "7")
    message = refusal(study.folder)
    assert "labels/acc.csv, row 3, patient TCGA-AC-0000-06A" in message
    assert "t is 7 here and 100 in row 2, where the patient is written TCGA-AC-0000-01A; all rows" in message


def test_a_rule_of_the_study_joins_what_it_says(small_study: Callable) -> None:
    study = renamed(small_study("acc"), {2: "GLA-0001_biopsy", 3: "GLA-0001_resection", 4: "GLA-0002_biopsy"})
    assert "labels/acc.csv" not in str(open_study(study.folder).warnings)
    assert len(open_study(study.folder).cohorts["acc"].labels) == 13
    for path in study.folder.glob("splits/acc/*"):
        path.unlink()
    for row in range(5, 18):
        study.set_cell("acc", row, "patient_id", f"{study.rows('acc')[row - 1][0]}_biopsy")
    study.set(ids={"patient": "{patient}_*"})
    cohort = open_study(study.folder).cohorts["acc"]
    assert len(cohort.labels) == 12
    assert {"GLA-0001", "GLA-0002"} <= set(cohort.labels.index)
    assert open_study(study.folder).cohorts["acc"].folds == cohort.folds  # as written, in the patients' names
    study.set_cell("acc", 17, "patient_id", "GLA-0003")
    message = refusal(study.folder)
    assert "labels/acc.csv, row 17, patient GLA-0003" in message
    assert "the id does not follow `ids: {patient: {patient}_*}`; mend the id, or the rule" in message


@pytest.mark.parametrize("rule", ["frist 8", "{person}_*", "first 0", 8, "*" * 9])
def test_a_wrong_rule_is_refused(small_study: Callable, rule: object) -> None:
    study = small_study("acc")
    study.set(ids={"patient": rule})
    assert "study.yaml: ids: patient is" in refusal(study.folder)


def test_a_person_in_two_cohorts_under_two_ids_is_counted(small_study: Callable) -> None:
    study = renamed(small_study("acc", "uvm"), {4: "P-1"})
    renamed(study, {4: "p-1"}, "uvm")
    expected = "1 patients are in more than one cohort; no model scores one it has seen"
    assert expected in open_study(study.folder).warnings
