"""Cross-validation folds: read from the study's split files, or made once and written beside the study.

A split file is a table with columns `train`, `test` and, optionally, `validation` (or `val`) of patient ids, the
shorter columns padded with blanks; there is one file a fold.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.data.faults import Faults, Place
from cropkt.errors import StudyError
from cropkt.files import atomic_path
from cropkt.seeds import generator


@dataclass(frozen=True)
class Fold:
    """Patient ids of one cross-validation fold."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def keep(self, patients: set[str]) -> "Fold":
        """The fold without patients that are not in `patients`."""
        lists = ((id_ for id_ in part if id_ in patients) for part in (self.train, self.test, self.validation))
        return Fold(*(tuple(part) for part in lists))


def make_splits(labels: pd.DataFrame, folds: int, seed: int, cohort: str) -> tuple[Fold, ...]:
    """`folds` folds of the patients of `labels` (index patient_id; columns event, project), stratified by both.

    Patients are shuffled within every stratum (event and project) and the strata, events first, are dealt out one
    after the other like one deck of cards. So fold sizes, events per fold and every stratum, however small, differ by
    at most one patient between any two folds' tests, and strata too small to fill all folds go on where the last one
    stopped. The random stream is named by `seed` and `cohort`. Raises StudyError for fewer patients than folds.
    """
    if len(labels) < folds:
        raise StudyError(f"{cohort}: {len(labels)} patients cannot fill {folds} folds; lower `folds`, or drop it")
    random = generator(seed, "splits", cohort)
    deck: list[str] = []
    for event in (1, 0):
        for project in sorted(labels["project"].unique()):
            stratum = labels.index[(labels["event"] == event) & (labels["project"] == project)]
            deck += random.permutation(sorted(stratum)).tolist()
    # The folds that get one patient more are drawn, so that not always the first ones do.
    place = {patient: turn % folds for turn, patient in enumerate(deck)}
    order = random.permutation(folds)
    tests = [sorted(patient for patient in deck if order[place[patient]] == fold) for fold in range(folds)]
    everyone = sorted(deck)
    return tuple(Fold(tuple(np.setdiff1d(everyone, test).tolist()), tuple(test)) for test in tests)


def write_splits(paths: Sequence[Path], splits: Sequence[Fold]) -> None:
    """Write every fold to its path, columns train and test; a path that exists is left as it is."""
    for path, fold in zip(paths, splits, strict=True):
        if path.exists():
            continue
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["train", "test"])
            writer.writerows(zip_longest(fold.train, fold.test, fillvalue=""))


def read_splits(
    paths: Sequence[Path], files: Sequence[str], patients: set[str], faults: Faults, *, leave_out: bool
) -> tuple[tuple[Fold, ...], int]:
    """The folds in `paths` and how many of their patients have no label; `files` is how messages name them.

    With `leave_out` patients without a label are dropped and counted, else they are faults. A patient named twice in
    one column counts once.
    """
    unknown: set[str] = set()
    splits = []
    for path, file in zip(paths, files, strict=True):
        rows = _read_columns(path, file, faults)
        for column, ids in rows.items():
            for patient, row in ids.items():
                if patient in patients:
                    continue
                unknown.add(patient)
                if not leave_out:
                    what = f"in {column}, but not in the labels"
                    to_do = "label the patient, take it out of the split, or set `unmatched: leave_out`"
                    faults.add("split patient without label", file, what, to_do, Place(row, patient))
        _check_overlap(rows, file, faults)
        parts = [tuple(rows.get(column, ())) for column in ("train", "test", "validation")]
        splits.append(Fold(*parts).keep(patients))
    _check_tested_once(splits, files, faults)
    return tuple(splits), len(unknown)


def _read_columns(path: Path, file: str, faults: Faults) -> dict[str, dict[str, int]]:
    """Patient ids of every column in the file's order, each with its row."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            names = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = ["validation" if name == "val" else name for name in names]
            columns: dict[str, dict[str, int]] = {
                name: {} for name in ("train", "test", "validation") if name in reader.fieldnames
            }
            for line in reader:
                for name, ids in columns.items():
                    patient = (line[name] or "").strip()
                    if patient:
                        ids.setdefault(patient, reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        faults.add("unreadable table", file, f"cannot be read ({error})", "give a comma-separated table in UTF-8")
        return {}
    for name in ("train", "test"):
        if name not in columns:
            what = f"no column {name} (it has {', '.join(names) or 'none'})"
            faults.add("missing column", file, what, "a split needs train and test, optionally validation")
        elif not columns[name]:
            faults.add("empty split", file, f"column {name} names no patient", "fill it, or remove all splits")
    return columns


def _check_overlap(rows: Mapping[str, Mapping[str, int]], file: str, faults: Faults) -> None:
    for one, other in (("train", "test"), ("validation", "test"), ("train", "validation")):
        for patient, row in rows.get(other, {}).items():
            if patient in rows.get(one, {}):
                what = f"in {other}, and in {one} in row {rows[one][patient]}"
                to_do = "a fold may use a patient once; take it out of one list"
                faults.add(f"patient in {one} and {other}", file, what, to_do, Place(row, patient))


def _check_tested_once(splits: Sequence[Fold], files: Sequence[str], faults: Faults) -> None:
    first: dict[str, str] = {}
    for fold, file in zip(splits, files, strict=True):
        for patient in fold.test:
            if first.setdefault(patient, file) != file:
                what = f"in test here and in {first[patient]}"
                to_do = "cross-validation tests a patient in one fold"
                faults.add("patient tested twice", file, what, to_do, Place(patient=patient))
