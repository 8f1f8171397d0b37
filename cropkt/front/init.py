"""`cropkt init`: look at a folder of features and at clinical tables, and write a commented study.yaml."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cropkt.data.persons import TCGA, is_rule
from cropkt.data.slide_files.features import SUFFIXES
from cropkt.data.study_yaml.schema import STUDY_FILE
from cropkt.errors import StudyError
from cropkt.front.choosing import Chooser
from cropkt.front.slides.encoders import FoundEncoder, find_encoders
from cropkt.front.slides.layouts import find_sources
from cropkt.front.slides.match import Match, SlideNames, likely_cause
from cropkt.front.slides.vectors import vector_tables, write_vectors
from cropkt.front.study_file import Key, StudyFile, columns_value
from cropkt.front.tables.cohort_tables import read_tables
from cropkt.front.tables.label_tables import StudyLabels, read_labels_of

SHOWN_COHORTS = 8
ARRAYS = (".npy", ".npz", ".pkl", ".pickle", ".mat", ".safetensors", ".pth", ".csv")
"""Suffixes of files that may hold features and are not read: nothing says what is in them, or reading runs code."""


@dataclass(frozen=True)
class InitOptions:
    """`folds` and the `rule` that finds the patient in an id (`persons.patient_id`)."""

    folds: int = 5
    rule: str = TCGA


def init_study(
    features: Path, tables: Sequence[Path], out: Path, chooser: Chooser, options: InitOptions = InitOptions()
) -> list[str]:
    """Write `out`/study.yaml for the slides in the folder `features` and the patients in `tables`.

    A folder in place of a table stands for the tables in it; tables of slides' feature columns in place of feature
    files become files in `out`/features. Returns what is to be told, a line each. Raises StudyError where nothing
    fits, a study is there already, or there are two readings and nobody to ask.
    """
    if (out / STUDY_FILE).exists():
        raise StudyError(f"{out / STUDY_FILE} is there already; give --out another folder, or remove that file")
    if not is_rule(options.rule):
        raise StudyError(f"--patient-rule {options.rule!r}: write tcga, `first 8`, or a pattern such as {{patient}}_*")
    contents, table_notes = read_tables(tables)
    root, notes = _feature_folder(features, out)
    found = find_sources(root)
    if not found.sources:
        what = f"no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} in it, nor tables of slides' features"
        raise StudyError(f"{features}: {what}; {' '.join(found.notes) or _what_is_there(root)}")
    encoders = find_encoders(found, root, out, chooser)
    names = SlideNames(tuple(slide for encoder in encoders for slide in encoder.slides), options.rule)
    labels = read_labels_of(contents, names, out, chooser)
    matches = {code: match for code, match in labels.matches.items() if match.with_slides}
    if not matches:
        raise StudyError(_nothing_fits(labels, names))
    left = _unmatched(labels, names)
    StudyFile(
        "Written by `cropkt init`; mend what is wrong, then `cropkt check` says what is in it.",
        tuple(_keys(out, encoders, labels, options, left)),
    ).write(out)
    return [
        *_told(encoders, labels, left, (*notes, *found.notes, *table_notes)),
        f"wrote {out / STUDY_FILE}: cropkt check {out}",
    ]


def _feature_folder(features: Path, out: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder with feature files: `features`, or where its tables were written to as such files."""
    if not features.is_dir() or find_sources(features).sources or not vector_tables(features):
        return features, ()
    written = write_vectors(features, out)
    note = (
        f"{written.slides} rows of {len(written.features)} feature columns written as {written.folder.name}/"
        f"{{slide}}.h5, scaled over all slides; {written.missing:.1%} of the values were missing and are the mean"
    )
    return written.folder, (note,)


def _what_is_there(folder: Path) -> str:
    """The most common kind of file in `folder`."""
    kinds = Counter(os.path.splitext(name)[1] for _, _, names in os.walk(folder) for name in names)
    if not kinds:
        return "it holds no files"
    ((suffix, count),) = kinds.most_common(1)
    if suffix.lower() in ARRAYS:
        return (
            f"it holds {count} files *{suffix}; write each slide's array (patches, width) as .h5 under the name "
            "features (h5py), or with torch.save as .pt"
        )
    return f"it holds {count} files {'*' + suffix if suffix else 'without a suffix'}; name the folder of features"


def _nothing_fits(labels: StudyLabels, names: SlideNames) -> str:
    patients = next(match.patients_without for match in labels.matches.values())
    likely = likely_cause(patients, names.slides)
    return (
        f"no slide is any patient's by its name. Slides: {', '.join(names.slides[:3])}; patients: "
        f"{', '.join(patients[:3])}. {likely + ' Else name' if likely else 'Name'} the columns (--patient, --slide), "
        'give a table of patients and slides too, or say which part of an id is the patient: --patient-rule "first 8"'
    )


def _unmatched(labels: StudyLabels, names: SlideNames) -> list[str]:
    """What does not match, a line each; empty where everything does."""
    lines = []
    used = {code: match for code, match in labels.matches.items() if match.with_slides}
    patients = [patient for match in used.values() for patient in match.patients_without]
    strangers = set.intersection(*(set(match.slides_without) for match in labels.matches.values()))
    empty = [code for code, match in labels.matches.items() if code not in used]
    if patients:
        lines.append(f"{len(patients)} patients without a slide, e.g. {', '.join(patients[:3])}")
    if strangers:
        ordered = [slide for slide in dict.fromkeys(names.slides) if slide in strangers]
        lines.append(f"{len(ordered)} slides without a patient, e.g. {', '.join(ordered[:3])}")
    if labels.incomplete:
        lines.append(f"{labels.incomplete} patients without time or event")
    if empty:
        lines.append(f"no slides of {', '.join(empty[:SHOWN_COHORTS])}{', ...' if len(empty) > SHOWN_COHORTS else ''}")
    return lines


def _keys(
    out: Path, encoders: Sequence[FoundEncoder], labels: StudyLabels, options: InitOptions, left: Sequence[str]
) -> list[Key]:
    used = {code: names for code, names in labels.cohorts.items() if labels.matches[code].with_slides}
    own_names = all(names == (code,) for code, names in used.items())
    cohorts = list(used) if own_names else {code: list(names) for code, names in used.items()}
    keys = [
        Key("name", re.sub(r"[^A-Za-z0-9._-]", "-", out.resolve().name).strip("-.")[:64] or "study"),
        Key("labels", _one_or_list(labels.patterns), labels.lines),
    ]
    if labels.columns is not None:
        why = [f"{key}: {evidence}" for key, evidence in labels.evidence.items()]
        keys.append(Key("columns", columns_value(labels.columns), tuple(why)))
    if options.rule != TCGA:
        keys.append(Key("ids", {"patient": options.rule}, ("which part of an id is the patient",)))
    values = {one.name: {"dim": one.dim, "features": _one_or_list(one.patterns)} for one in encoders}
    told = [line for encoder in encoders for line in encoder.lines]
    if len(encoders) > 1:
        told.append(f"{encoders[0].name} is used unless --encoder names another")
    return [
        *keys,
        Key("cohorts", cohorts, tuple(f"{code}: {_short(labels.matches[code])}" for code in used)),
        Key("encoders", values, tuple(told)),
        Key("folds", options.folds, ("made when the study is first opened, stratified by event and project",)),
        Key("unmatched", "leave_out" if left else "error", tuple(left or ["everything matches"])),
    ]


def _short(match: Match) -> str:
    return f"{match.with_slides} of {match.patients} patients have {match.slides} slides"


def _one_or_list(patterns: Sequence[str]) -> str | list[str]:
    return patterns[0] if len(patterns) == 1 else list(patterns)


def _told(
    encoders: Sequence[FoundEncoder], labels: StudyLabels, left: Sequence[str], notes: Sequence[str]
) -> list[str]:
    lines = [f"features   {line}" for encoder in encoders for line in encoder.lines]
    lines += [f"           {note}" for note in notes]
    lines += [f"labels     {line}" for line in labels.lines]
    if (columns := labels.columns) is not None:
        why = labels.evidence
        lines.append(f"patient    {columns.patient} ({why['patient']})")
        lines.append(f"slide      {f'{columns.slide} (' + why['slide'] + ')' if columns.slide else why['slide']}")
        lines.append(f"time       {columns.time.column} in {columns.time.unit} ({why['time']})")
        coded = f"event {' or '.join(columns.event.event)}, censored {' or '.join(columns.event.censored)}"
        lines.append(f"event      {columns.event.column}: {coded} ({why['event']})")
    used = {code: match for code, match in labels.matches.items() if match.with_slides}
    lines += [f"matched    {code}: {_short(match)}" for code, match in list(used.items())[:SHOWN_COHORTS]]
    if len(used) > SHOWN_COHORTS:
        lines.append(f"           and {len(used) - SHOWN_COHORTS} more cohorts; all are in {STUDY_FILE}")
    return lines + [f"left out   {line}" for line in left]
