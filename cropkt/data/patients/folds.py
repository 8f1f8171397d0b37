"""Cross-validation folds: read from the study's split files, or made once and written beside the study.

A split file is a table with columns `train`, `test` and, optionally, `validation` (or `val`) of patient ids, the
shorter columns padded with blanks; there is one file a fold. Files with other columns need `splits_columns` in
study.yaml: in those of SurvPath and MCAT, with `train` and `val` alone, `val` is the test set.
"""

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.data.faults import Faults, Place
from cropkt.data.patients.tables import read_table
from cropkt.data.persons import TCGA, patient_id, person_of
from cropkt.data.slide_files.slide_names import slide_id
from cropkt.data.study_yaml.schema import PARTS
from cropkt.data.text_files import TextFileError
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


def make_splits(labels: pd.DataFrame, n_folds: int, seed: int, code: str) -> tuple[Fold, ...]:
    """`n_folds` folds of the patients of `labels` (index patient_id; columns event, project), stratified by both.

    Patients are shuffled within every stratum (event and project) and the strata, events first, are dealt out one
    after the other like one deck of cards. So fold sizes, events per fold and every stratum, however small, differ by
    at most one patient between any two folds' tests, and strata too small to fill all folds go on where the last one
    stopped. The random stream is named by `seed` and `code`. Raises StudyError for fewer patients than folds.
    """
    if len(labels) < n_folds:
        raise StudyError(f"{code}: {len(labels)} patients cannot fill {n_folds} folds; lower `folds`, or drop it")
    random = generator(seed, "splits", code)
    deck: list[str] = []
    for event in (1, 0):
        for project in sorted(labels["project"].unique()):
            stratum = labels.index[(labels["event"] == event) & (labels["project"] == project)]
            deck += random.permutation(sorted(stratum)).tolist()
    # The folds that get one patient more are drawn, so that not always the first ones do.
    place = {patient: turn % n_folds for turn, patient in enumerate(deck)}
    order = random.permutation(n_folds)
    tests = [sorted(patient for patient in deck if order[place[patient]] == fold) for fold in range(n_folds)]
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


@dataclass(frozen=True)
class SplitPatients:
    """Who the ids of split files may name: the cohort's `patients`, and whose each slide is.

    `rule` says which part of an id is the patient (`persons.patient_id`).
    """

    patients: frozenset[str]
    slides: Mapping[str, str]
    rule: str = TCGA

    @cached_property
    def by_person(self) -> dict[str, str]:
        """Patient ids by person."""
        return {person_of(patient): patient for patient in self.patients}

    def patient(self, written: str) -> str | None:
        """The patient `written` names, itself or by one of the patient's slides; None where it names nobody known."""
        if written in self.patients:
            return written
        of_slide = self.slides.get(slide_id(written))
        return of_slide or self.by_person.get(person_of(patient_id(written, self.rule) or written))

    def is_slide(self, written: str) -> bool:
        """Is `written` the name of a slide, and of no patient?"""
        return written not in self.patients and slide_id(written) in self.slides


@dataclass(frozen=True)
class SplitFiles:
    """The folds of a cohort's split files, and how many of their ids name nobody known, and how many a slide."""

    folds: tuple[Fold, ...]
    unknown: int
    slides: int


def read_splits(
    paths: Sequence[Path],
    files: Sequence[str],
    known: SplitPatients,
    faults: Faults,
    *,
    leave_out: bool,
    columns: Mapping[str, str] | None = None,
) -> SplitFiles:
    """The folds in `paths`; `files` is how messages name them.

    `columns` has the column of each part (train, test, validation); without it they are called so. Ids of slides are
    read as their patients. With `leave_out` ids that name nobody are dropped and counted, else they are faults. A
    patient named twice in one column counts once.
    """
    unknown: set[str] = set()
    slides: set[str] = set()
    splits = []
    for path, file in zip(paths, files, strict=True):
        written = _read_columns(path, file, columns, faults)
        parts: dict[str, dict[str, int]] = {}
        of_slides: set[str] = set()
        for part, ids in written.items():
            parts[part] = {}
            for id_, row in ids.items():
                patient = known.patient(id_)
                if patient is None:
                    unknown.add(id_)
                    continue
                parts[part].setdefault(patient, row)
                if known.is_slide(id_):
                    slides.add(id_)
                    of_slides.add(patient)
        if not leave_out:
            _tell_unknown(written, known, file, faults)
        _check_overlap(parts, of_slides, file, faults)
        splits.append(Fold(*(tuple(parts.get(part, ())) for part in PARTS)))
    _check_tested_once(splits, files, faults)
    return SplitFiles(tuple(splits), len(unknown), len(slides))


def check_kept(
    splits: Sequence[Fold], kept: Sequence[Fold], files: Sequence[str], why: Mapping[str, str], faults: Faults
) -> None:
    """A fold in which no training or test patient is left is a fault; `why` says why each patient is not kept."""
    for fold, rest, file in zip(splits, kept, files, strict=True):
        for part, before, after in (("train", fold.train, rest.train), ("test", fold.test, rest.test)):
            if before and not after:
                reasons = Counter(why.get(patient, "left out") for patient in before)
                said = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
                what = f"none of the {len(before)} patients in {part} is left ({said})"
                to_do = "add what is missing, remove all of the cohort's splits to have them made, or leave it out"
                faults.add("empty fold", file, what, to_do)


def _tell_unknown(written: Mapping[str, Mapping[str, int]], known: SplitPatients, file: str, faults: Faults) -> None:
    ids = [(part, id_, row) for part, of_part in written.items() for id_, row in of_part.items()]
    strange = [item for item in ids if known.patient(item[1]) is None]
    if len(ids) > 1 and len(strange) == len(ids):
        what = f"none of its {len(ids)} ids is in the labels (the first is {ids[0][1]!r})"
        to_do = "if they are slides, name the column of slides in the labels; if another cohort's, mend `splits`"
        faults.add("split of other patients", file, what, to_do)
        return
    for part, id_, row in strange:
        to_do = "label the patient, take it out of the split, or set `unmatched: leave_out`"
        faults.add("split patient without label", file, f"in {part}, but not in the labels", to_do, Place(row, id_))


def _read_columns(
    path: Path, file: str, columns: Mapping[str, str] | None, faults: Faults
) -> dict[str, dict[str, int]]:
    """By part the ids in the file's order, each with its row."""
    try:
        table = read_table(path)
    except (FileNotFoundError, TextFileError) as error:
        reason, to_do = getattr(error, "reason", "there is no such file"), getattr(error, "to_do", "mend `splits`")
        faults.add("unreadable table", file, reason, to_do)
        return {}
    wanted = dict(columns) if columns is not None else _usual_columns(table.columns)
    if missing := [name for name in wanted.values() if name not in table.columns]:
        named = [name for name in table.columns if name]
        there = (", ".join(named[:20]) or "none") + (", ..." if len(named) > 20 else "")
        to_do = "a split needs train and test, optionally validation; other names go under `splits_columns`"
        if columns is None and "val" in table.columns:
            what = "where SurvPath and MCAT write two columns, val is the test set"
            to_do = f"{what}: say so with `splits_columns: {{train: train, test: val}}` in study.yaml"
        faults.add("missing column", file, f"no column {', '.join(missing)} (it has {there})", to_do)
        return {}
    parts: dict[str, dict[str, int]] = {part: {} for part in wanted}
    for row in table.rows:
        for part, name in wanted.items():
            if row.cells[name]:
                parts[part].setdefault(row.cells[name], row.row)
    for part in ("train", "test"):
        if not parts[part]:
            what = f"column {wanted[part]} names no patient"
            faults.add("empty split", file, what, "fill it, or remove all of the cohort's splits to have them made")
    return parts


def _usual_columns(there: Sequence[str]) -> dict[str, str]:
    wanted = {"train": "train", "test": "test"}
    validation = next((name for name in ("validation", "val") if name in there), None)
    return wanted | ({"validation": validation} if validation and "test" in there else {})


def _check_overlap(
    parts: Mapping[str, Mapping[str, int]], of_slides: Collection[str], file: str, faults: Faults
) -> None:
    for one, other in (("train", "test"), ("validation", "test"), ("train", "validation")):
        for patient, row in parts.get(other, {}).items():
            if patient in parts.get(one, {}):
                what = f"in {other}, and in {one} in row {parts[one][patient]}"
                to_do = "a fold may use a patient once; take it out of one list"
                if patient in of_slides:
                    to_do = "the file lists slides, and this patient's are on both sides; split by patient"
                faults.add(f"patient in {one} and {other}", file, what, to_do, Place(row, patient))


def _check_tested_once(splits: Sequence[Fold], files: Sequence[str], faults: Faults) -> None:
    first: dict[str, str] = {}
    tests = {frozenset(fold.test) for fold in splits if fold.test}
    if len(splits) > 1 and len(tests) == 1 and all(fold.test for fold in splits):
        what = f"the {len(splits)} files have the same test patients"
        to_do = "this is one held-out set and no cross-validation; test every patient in one fold"
        faults.add("patient tested twice", files[0], what, to_do)
        return
    for fold, file in zip(splits, files, strict=True):
        for patient in fold.test:
            if first.setdefault(patient, file) != file:
                what = f"in test here and in {first[patient]}"
                to_do = (
                    "cross-validation tests a patient in one fold; repeated random splits overlap and cannot be used"
                )
                faults.add("patient tested twice", file, what, to_do, Place(patient=patient))
