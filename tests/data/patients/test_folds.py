"""Folds: dealt fairly whatever the strata, made once, and kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.cohorts import COHORTS
from cropkt.data.faults import Faults
from cropkt.data.patients.folds import Fold, make_splits, write_splits
from cropkt.data.patients.labels import read_labels
from cropkt.data.study import open_study
from cropkt.errors import StudyError


def table(*strata: tuple[int, int, str]) -> pd.DataFrame:
    """Labels with `patients` of each (patients, event, project)."""
    rows = [(event, project) for patients, event, project in strata for _ in range(patients)]
    index = pd.Index([f"P{number:03d}" for number in range(len(rows))], name="patient_id")
    return pd.DataFrame(rows, columns=["event", "project"], index=index).assign(time=1.0)


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


def assert_fair(labels: pd.DataFrame, folds: tuple[Fold, ...]) -> None:
    """Every patient tested once and trained on otherwise; sizes, events, strata differ by one patient at most."""
    assert sorted(patient for fold in folds for patient in fold.test) == sorted(labels.index)
    for fold in folds:
        assert set(fold.train) == set(labels.index) - set(fold.test)
        assert len(fold.train) == len(set(fold.train))
    tests = [labels.loc[list(fold.test)] for fold in folds]
    assert spread([len(test) for test in tests]) <= 1
    assert spread([int(test["event"].sum()) for test in tests]) <= 1
    for (event, project), _ in labels.groupby(["event", "project"]):
        assert spread([int(((test["event"] == event) & (test["project"] == project)).sum()) for test in tests]) <= 1


CASES = {
    "even": table((50, 1, "A"), (50, 0, "A")),
    "three events in five folds": table((3, 1, "A"), (40, 0, "A")),
    "no event": table((17, 0, "A")),
    "all events": table((17, 1, "A")),
    "projects of very different size": table((40, 1, "A"), (2, 1, "B"), (1, 1, "C"), (90, 0, "A"), (3, 0, "B")),
    "as many patients as folds": table((2, 1, "A"), (3, 0, "B")),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_folds_are_fair(case: str, seed: int) -> None:
    assert_fair(CASES[case], make_splits(CASES[case], 5, seed, "acc"))


def test_the_seed_and_the_cohort_decide() -> None:
    labels = CASES["even"]
    once = make_splits(labels, 5, 7, "acc")
    assert make_splits(labels, 5, 7, "acc") == once
    assert make_splits(labels.iloc[::-1], 5, 7, "acc") == once
    assert make_splits(labels, 5, 8, "acc") != once
    assert make_splits(labels, 5, 7, "ucs") != once


def test_no_fold_is_favoured() -> None:
    """Over many seeds each patient, also an event, is tested in every fold about as often."""
    labels = CASES["three events in five folds"]
    where = np.zeros((len(labels), 5))
    for seed in range(400):
        for number, fold in enumerate(make_splits(labels, 5, seed, "acc")):
            where[labels.index.get_indexer(list(fold.test)), number] += 1
    assert abs(where - 80).max() < 5 * np.sqrt(400 * 0.2 * 0.8)
    assert abs(where[:3].sum(axis=0) - 240).max() < 5 * np.sqrt(400 * 0.6 * 0.4)


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(StudyError, match="acc: 4 patients cannot fill 5 folds"):
        make_splits(table((4, 1, "A")), 5, 0, "acc")


def split_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("splits/acc/*"))}


def test_splits_are_made_once_and_stay_whatever_the_seed(small_study: Callable) -> None:
    study = small_study("acc")
    first = open_study(study.folder, seed=1)
    written = split_bytes(study.folder)
    assert list(written) == ["splits_0.csv", "splits_1.csv", "splits_2.csv"]
    again = open_study(study.folder, seed=2)
    assert split_bytes(study.folder) == written
    assert again.cohorts["acc"].folds == first.cohorts["acc"].folds
    assert again.cohorts["acc"].fingerprint == first.cohorts["acc"].fingerprint


def test_a_split_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    paths = [tmp_path / "splits_0.csv", tmp_path / "splits_1.csv"]
    paths[0].write_text("train,test\nmine,yours\n")
    write_splits(paths, [Fold(("a", "b"), ("c",)), Fold(("c",), ("a", "b"))])
    assert paths[0].read_text() == "train,test\nmine,yours\n"
    assert paths[1].read_text() == "train,test\nc,a\n,b\n"


def test_new_splits_follow_the_seed_and_study_yamls_comes_first(small_study: Callable) -> None:
    study = small_study("acc")

    def made(seed: int) -> dict[str, bytes]:
        for path in study.folder.glob("splits/acc/*"):
            path.unlink()
        open_study(study.folder, seed=seed)
        return split_bytes(study.folder)

    assert made(1) != made(2)
    study.set(seed=2)
    assert made(1) == made(7)


def test_written_splits_are_a_ragged_table(small_study: Callable) -> None:
    study = small_study("acc")
    fold = open_study(study.folder).cohorts["acc"].folds[0]
    frame = pd.read_csv(study.split("acc", 0))
    assert list(frame.columns) == ["train", "test"]
    assert frame["train"].tolist() == list(fold.train)
    assert frame["test"].dropna().tolist() == list(fold.test)
    assert len(fold.test) == 4


def test_the_splits_pattern_of_study_yaml_is_used(small_study: Callable) -> None:
    study = small_study("acc")
    study.set(splits="data_split/tcga_{cohort}/splits_{fold}.csv")
    open_study(study.folder)
    assert len(list((study.folder / "data_split" / "tcga_acc").iterdir())) == 3


def real_labels(real_data: Path, code: str) -> pd.DataFrame:
    path = real_data / "labels" / f"{code}_survival.csv"
    faults = Faults("real")
    labels = read_labels(path, path.name, faults, leave_out=False).patients()
    assert faults.found == []
    return labels


@pytest.mark.parametrize("code", COHORTS)
def test_real_cohorts_are_read_and_dealt_fairly(real_data: Path, code: str) -> None:
    labels = real_labels(real_data, code)
    counts = pd.read_csv(real_data / "labels" / "counts.csv").set_index("cohort").loc[code]
    assert (len(labels), labels["event"].sum()) == (counts["patients"], counts["events"])
    assert (labels["time"] == 0).sum() == counts["t_zero"]
    assert labels["time"].median() == counts["median_t_days"]
    assert set(labels["project"].str.removeprefix("TCGA-")) == set(COHORTS[code].projects)
    folds = make_splits(labels, 5, 0, code)
    assert_fair(labels, folds)
    if labels["event"].sum() >= 5:
        assert min(labels.loc[list(fold.test), "event"].sum() for fold in folds) >= 1


def test_the_four_deaths_of_dlbc_fall_into_four_folds(real_data: Path) -> None:
    labels = real_labels(real_data, "dlbc")
    events = [int(labels.loc[list(fold.test), "event"].sum()) for fold in make_splits(labels, 5, 0, "dlbc")]
    assert sorted(events) == [0, 1, 1, 1, 1]
