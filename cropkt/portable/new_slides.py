"""A folder of feature files that belongs to no study: whose slides they are, and their bags a block at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cropkt.data.bags import Bags, read_slides
from cropkt.data.slide_files.features import SUFFIXES, FeatureFileError, encoder_named_in, header
from cropkt.data.slide_files.slide_names import slide_id
from cropkt.errors import ConfigError, InputError, StudyError
from cropkt.transfer.scores import dealt

PATCHES_A_BLOCK = 400_000
"""Patches that are in memory at once, unless one patient has more: 2.5 GB of 1,536 numbers in float32."""
SLIDE_COLUMNS = ("slide", "pathology_id", "slide_id")
PATIENT_COLUMNS = ("patient_id", "case_id", "patient")


@dataclass(frozen=True)
class NewSlide:
    """A feature file and the patient it is of."""

    patient: str
    slide: str
    path: Path


@dataclass(frozen=True)
class Block:
    """Bags of some patients, and the mean features (S, D) of their slides, `slides` (S,)."""

    bags: Bags
    slides: tuple[NewSlide, ...]
    means: np.ndarray
    patches: tuple[int, ...]


def find_slides(features: Path, table: Path | None) -> list[NewSlide]:
    """The feature files in a folder, or the one file, those of a patient one after the other.

    `table` is a CSV with a column of slides and one of patients; slides may be written with their suffix. Without one
    each slide is a patient. Raises ConfigError where there are no files, two are of one slide, or the table lacks one.
    """
    is_slide = features.is_file() or features.suffix.lower() in SUFFIXES
    paths = [features] if is_slide else sorted(path for path in features.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(f"--features {features}: no feature file there ({', '.join(SUFFIXES)})")
    slides = [slide_id(path.name.removesuffix(path.suffix)) for path in paths]
    if twice := sorted({slide for slide in slides if slides.count(slide) > 1}):
        raise ConfigError(f"--features {features}: several files are of slide {twice[0]}; keep one of them")
    owner = {slide: slide for slide in slides} if table is None else _owners(table)
    if missing := [slide for slide in slides if slide not in owner]:
        raise ConfigError(f"--table {table}: lacks {len(missing)} of {len(slides)} slides, such as {missing[0]}")
    found = [NewSlide(owner[slide], slide, path) for slide, path in zip(slides, paths, strict=True)]
    return sorted(found, key=lambda new: (new.patient, new.slide))


def _owners(table: Path) -> dict[str, str]:
    """Patient by slide."""
    try:
        rows = pd.read_csv(table, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--table {table}: cannot be read ({error})") from error
    columns = [next((name for name in known if name in rows), None) for known in (SLIDE_COLUMNS, PATIENT_COLUMNS)]
    if None in columns:
        raise ConfigError(
            f"--table {table}: needs a column {' or '.join(SLIDE_COLUMNS)} and {' or '.join(PATIENT_COLUMNS)}; "
            f"it has {', '.join(map(str, rows))}"
        )
    slides, patients = (rows[name].str.strip() for name in columns)
    return {slide_id(slide): patient for slide, patient in zip(slides, patients, strict=True) if slide and patient}


def require_encoder(slides: Sequence[NewSlide], encoder: str) -> str:
    """A warning where the first readable file names another encoder than `encoder`, else ""."""
    for new in slides:
        try:
            named = encoder_named_in(new.path)
        except FeatureFileError:
            continue
        if named and not _alike(named, encoder):
            return f"{new.path.name} says its features are of {named}; the library's models read those of {encoder}"
        return ""
    return ""


def _alike(one: str, other: str) -> bool:
    first, second = ("".join(filter(str.isalnum, name.casefold())) for name in (one, other))
    return first in second or second in first


def read_blocks(slides: Sequence[NewSlide], width: int, dtype: torch.dtype, *, strict: bool) -> Iterator[Block]:
    """Bags of all patients, some at a time; slides as `find_slides` gives them.

    Slides that cannot be used are left out with a warning, or are a StudyError with `strict`. Raises StudyError when no
    slide can be used.
    """
    any_read = False
    for some in _blocks(slides):
        try:
            of_slides = read_slides([(new.slide, new.path) for new in some], width, dtype=dtype, strict=strict)
        except StudyError:
            if strict:
                raise
            continue  # every slide of this block has been named in a warning
        any_read = True
        yield _block(some, of_slides)
    if not any_read:
        raise InputError(f"none of the {len(slides)} slides can be used; see the warnings above")


def _blocks(slides: Sequence[NewSlide]) -> Iterator[list[NewSlide]]:
    """The slides of some patients at a time: as many as a sweep reads together, fewer where they have many patches."""
    patients = [list(of_patient) for _, of_patient in groupby(slides, key=lambda new: new.patient)]
    for places in dealt(len(patients)):
        held: list[NewSlide] = []
        patches = 0
        for place in places:
            count = sum(_patches(new.path) for new in patients[place])
            if held and patches + count > PATCHES_A_BLOCK:
                yield held
                held, patches = [], 0
            held, patches = held + patients[place], patches + count
        yield held


def _patches(path: Path) -> int:
    try:
        return header(path)[0]
    except FeatureFileError:
        return 0


def _block(slides: Sequence[NewSlide], of_slides: Bags) -> Block:
    """Bags of slides put together to bags of patients; the patches stay where they are."""
    by_name = {new.slide: new for new in slides}
    read = tuple(by_name[slide] for slide in of_slides.patients)
    rows = of_slides.offsets.numpy()
    first = [n for n, new in enumerate(read) if n == 0 or read[n - 1].patient != new.patient]
    offsets = torch.from_numpy(np.append(rows[first], rows[-1]))
    bags = Bags(tuple(read[n].patient for n in first), of_slides.features, offsets, of_slides.skipped)
    means = [of_slides.features[start:end].double().mean(dim=0).numpy() for start, end in pairwise(rows)]
    return Block(bags, read, np.array(means), tuple(int(length) for length in np.diff(rows)))
