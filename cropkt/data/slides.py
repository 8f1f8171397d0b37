"""The slides of a cohort: each label row's feature file found, and its header held against the encoder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cropkt.data.faults import Faults, Place
from cropkt.data.features import FeatureFileError, header
from cropkt.data.labels import LabelRow, LabelTable
from cropkt.data.listing import SlideFiles
from cropkt.data.settings import Encoder

LEAVE_OUT = "set `unmatched: leave_out`"


@dataclass(frozen=True)
class SlideTable:
    """`frame` has columns patient_id, slide, path, patches, sorted by patient, then as the label table; `bytes` holds
    the size of each file. Patients and slides without a file are not in it, but counted."""

    frame: pd.DataFrame
    bytes: tuple[int, ...]
    patients_without: int
    slides_without: int


def locate_slides(
    cohort: str,
    table: LabelTable,
    files: SlideFiles,
    faults: Faults,
    *,
    shown: Callable[[str | Path], str],
    leave_out: bool,
) -> SlideTable:
    """Find the feature file of every row of `table`. What has none is a fault, or counted with `leave_out`."""
    found: list[tuple[str, str, str]] = []
    missing: dict[str, list[tuple[LabelRow, str]]] = {}
    absent_folders: dict[str, list[str]] = {}
    patients = {row.patient: row for row in reversed(table.rows) if row.patient and row.project}
    for row in table.rows:
        if not row.slide or not row.project:
            continue
        places = files.expected(cohort=cohort, project=row.project, patient=row.patient, slide=row.slide)
        paths = files.find(places)
        folder, name = places[0]
        if len(paths) > 1:
            same_folder = len({os.path.dirname(path) for path in paths}) == 1
            named = [os.path.basename(path) if same_folder else shown(path) for path in paths]
            what = f"{len(paths)} feature files: {', '.join(named)}"
            at = Place(row.row, row.patient, row.slide)
            faults.add("duplicated slide", shown(folder), what, f"keep one, or name it {name}", at)
        if paths:
            found.append((row.patient, row.slide, paths[0]))
        elif not any(files.listing(where).exists for where, _ in places):
            absent_folders.setdefault(folder, []).append(row.patient)
        else:
            missing.setdefault(row.patient, []).append((row, os.path.join(folder, name)))

    with_features = {patient for patient, _, _ in found}
    without = [patient for patient in sorted(patients) if patient not in with_features]
    explained = {patient for of_folder in absent_folders.values() for patient in of_folder}
    slides_without = sum(len(rows) for patient, rows in missing.items() if patient in with_features)
    if not leave_out:
        for folder, of_folder in absent_folders.items():
            what = f"there is no such folder; {len(set(of_folder))} patients of {cohort} have their features there"
            faults.add("no feature folder", shown(folder), what, f"mend `features` in study.yaml, or {LEAVE_OUT}")
        for patient in without:
            if patient not in explained:
                _patient_without(patients[patient], missing.get(patient, []), table, faults, shown)
        for patient, rows in missing.items():
            for row, path in rows if patient in with_features else []:
                at = Place(row.row, patient, row.slide)
                what, to_do = f"there is no {shown(path)}", f"extract the slide, remove the row, or {LEAVE_OUT}"
                faults.add("slide without features", row.file, what, to_do, at)

    found.sort(key=lambda item: item[0])  # stable: a patient's slides stay in the table's order
    frame = pd.DataFrame(found, columns=["patient_id", "slide", "path"]).astype("str")
    frame["patches"] = pd.Series([0] * len(found), dtype="int64")
    return SlideTable(frame, (0,) * len(found), len(without), slides_without)


def _patient_without(
    row: LabelRow,
    missing: list[tuple[LabelRow, str]],
    table: LabelTable,
    faults: Faults,
    shown: Callable[[str | Path], str],
) -> None:
    slide = ""
    if missing:
        row, path = missing[0]
        slide, what = row.slide, f"no features: there is no {shown(path)}"
        to_do = f"extract the slide, remove the patient, or {LEAVE_OUT}"
    elif table.columns.slide:
        what = f"no features: {table.columns.slide} is empty"
        to_do = f"name a slide, remove the patient, or {LEAVE_OUT}"
    else:
        what = "no features: no file's name begins with the patient's id"
        to_do = f"extract a slide, say in study.yaml under `columns` which column names the slide, or {LEAVE_OUT}"
    faults.add("patient without features", row.file, what, to_do, Place(row.row, row.patient, slide))


def check_headers(
    slides: SlideTable, encoder: Encoder, faults: Faults, *, shown: Callable[[str | Path], str]
) -> tuple[SlideTable, list[str]]:
    """`slides` with patches and sizes from the files' headers, and warnings on headers that cannot be read.

    Those keep 0 patches and are tried again, and then named, when bags are read. Another width than the encoder's is
    a fault.
    """
    patches, sizes, warnings = [], [], []
    for patient, slide, path in slides.frame[["patient_id", "slide", "path"]].itertuples(index=False, name=None):
        size = count = 0
        try:
            size = os.stat(path).st_size
            count, width = header(path)
        except (FeatureFileError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            warnings.append(f"{shown(path)}, patient {patient}, slide {slide}: {reason}; it is left out, see to it")
        else:
            if width != encoder.dim:
                what = f"features are {width} wide, encoder {encoder.name} says dim: {encoder.dim}"
                to_do = "extract the slide with that encoder, or mend `dim`"
                at, folder = Place(patient=patient, slide=slide), os.path.dirname(path)
                faults.add("wrong feature width", shown(path), what, to_do, at, source=folder)
        patches.append(count)
        sizes.append(size)
    frame = slides.frame.assign(patches=pd.Series(patches, dtype="int64", index=slides.frame.index))
    return replace(slides, frame=frame, bytes=tuple(sizes)), warnings


def not_in_labels(files: SlideFiles, faults: Faults, *, shown: Callable[[str | Path], str], leave_out: bool) -> int:
    """How many feature files are of slides no label row names; without `leave_out` each is a fault."""
    strangers = files.not_asked_for()
    for path, slide in [] if leave_out else strangers:
        what, to_do = "slide without patient: no label row names it", f"label it, move the file, or {LEAVE_OUT}"
        faults.add("slide without patient", shown(path), what, to_do, Place(slide=slide), source=os.path.dirname(path))
    return len(strangers)
