"""The slides of a cohort: each label row's feature file found, and its header held against the encoder."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cropkt.data.faults import Faults, Place
from cropkt.data.listing import SlideFiles
from cropkt.data.packs.index import is_packed, packed_cohort, packed_path
from cropkt.data.patients.labels import LabelRow, LabelTable
from cropkt.data.slide_files.features import header
from cropkt.data.slide_files.slide_faults import FeatureFileError, SkippedSlide, SlideFault
from cropkt.data.study_yaml.settings import Encoder

LEAVE_OUT = "set `unmatched: leave_out`"


@dataclass(frozen=True)
class SlideTable:
    """`frame` has columns patient_id, slide, path, patches, sorted by patient, then as the label table. Patients and
    slides without a file are not in it, but counted. `unusable` are those in it whose header shows that they are bad;
    their `patches` are 0."""

    frame: pd.DataFrame
    patients_without: int
    slides_without: int
    unusable: tuple[SkippedSlide, ...] = ()


def locate_slides(
    code: str,
    table: LabelTable,
    files: SlideFiles,
    faults: Faults,
    *,
    shown: Callable[[str | Path], str],
    leave_out: bool,
    pack: Path | None = None,
) -> SlideTable:
    """Find the feature file of every row of `table`, or else the slide in the cohort's folder `pack`. What has neither
    is a fault, or counted with `leave_out`."""
    packed = packed_cohort(pack) if pack is not None else {}
    found: list[tuple[str, str, str]] = []
    missing: dict[str, list[tuple[LabelRow, str]]] = {}
    absent_folders: dict[str, list[str]] = {}
    patients = {row.patient: row for row in reversed(table.rows) if row.patient and row.project}
    for row in table.rows:
        if not row.slide or not row.project:
            continue
        places = files.expected(code=code, project=row.project, patient=row.patient, slide=row.slide)
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
        elif pack is not None and row.slide in packed:
            found.append((row.patient, row.slide, packed_path(pack, row.slide)))
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
            what = f"there is no such folder; {len(set(of_folder))} patients of {code} have their features there"
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
    return SlideTable(frame, len(without), slides_without)


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
    code: str,
    slides: SlideTable,
    encoder: Encoder,
    faults: Faults,
    *,
    shown: Callable[[str | Path], str],
    known: Mapping[str, tuple[int, int]],
) -> SlideTable:
    """`slides` with the patches of each file's header, and those that are `unusable` by it. Headers that are `known`
    (by path) are not read.

    These are looked at again, and named, when bags are read. Where at least half of the slides that can be read have
    another width than the encoder's, the study names the wrong encoder, and each of them is a fault.
    """
    headers = [known.get(path) or _header(path) for path in slides.frame["path"]]
    widths = [found[1] for found in headers if not isinstance(found, FeatureFileError)]
    wrong_encoder = 2 * sum(width != encoder.dim for width in widths) >= max(len(widths), 1)
    patches, unusable = [], []
    rows = slides.frame[["patient_id", "slide", "path"]].itertuples(index=False, name=None)
    for (patient, slide, path), found in zip(rows, headers, strict=True):
        if not isinstance(found, FeatureFileError) and found[1] != encoder.dim:
            what = f"features are {found[1]} wide, encoder {encoder.name} says dim: {encoder.dim}"
            if wrong_encoder:
                to_do = "extract the slide with that encoder, or mend `dim`"
                at, folder = Place(patient=patient, slide=slide), os.path.dirname(path)
                faults.add("wrong feature width", shown(path), what, to_do, at, origin=folder)
            found = FeatureFileError(SlideFault.WIDTH, what)
        if isinstance(found, FeatureFileError):
            unusable.append(SkippedSlide(code, slide, patient, path, found.fault, str(found), found.passing))
        patches.append(0 if isinstance(found, FeatureFileError) else found[0])
    frame = slides.frame.assign(patches=pd.Series(patches, dtype="int64", index=slides.frame.index))
    return replace(slides, frame=frame, unusable=tuple(unusable))


def _header(path: str) -> tuple[int, int] | FeatureFileError:
    try:
        return header(path)
    except FeatureFileError as error:
        return error


def use_packed(slides: SlideTable, pack: Path | None, contents: Mapping[str, str | None]) -> tuple[SlideTable, int]:
    """`slides` read from the cohort's folder `pack` where it was made of the very files there are, and how many slides
    it has of other content than their files, `contents` (digest by path); these are read from their files."""
    packed = packed_cohort(pack) if pack is not None else {}
    paths, other = [], 0
    for slide, path in zip(slides.frame["slide"], slides.frame["path"], strict=True):
        same = slide in packed and not is_packed(path) and packed[slide].digest == contents[path] is not None
        other += slide in packed and not is_packed(path) and not same
        paths.append(packed_path(pack, slide) if same and pack is not None else path)
    return replace(
        slides, frame=slides.frame.assign(path=pd.Series(paths, index=slides.frame.index, dtype="str"))
    ), other


def not_in_labels(files: SlideFiles, faults: Faults, *, shown: Callable[[str | Path], str], leave_out: bool) -> int:
    """How many feature files are of slides no label row names; without `leave_out` each is a fault."""
    strangers = files.not_asked_for()
    for path, slide in [] if leave_out else strangers:
        what, to_do = "slide without patient: no label row names it", f"label it, move the file, or {LEAVE_OUT}"
        faults.add("slide without patient", shown(path), what, to_do, Place(slide=slide), origin=os.path.dirname(path))
    return len(strangers)
