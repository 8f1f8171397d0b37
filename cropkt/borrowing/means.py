"""Mean features per patient: all that borrowing needs of the slides. Each slide is read once, and the means are kept.

A file holds one cohort's patients and is bound to the cohort's fingerprint; it stays in the results folder. What leaves
the house are moments and summaries (exchange.py), which hold no patient.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cropkt.borrowing.folds import Split
from cropkt.borrowing.lenders import CohortPatients
from cropkt.data.bags import leave_out, passing_slides
from cropkt.data.streams.stream import NoBagLeftError, stream_bags
from cropkt.data.streams.tiles import BagChangedError, LongBag
from cropkt.data.study import Cohort
from cropkt.errors import StudyError
from cropkt.files import atomic_path

PATCHES = 4096
"""Patches in memory at a time, whatever a slide has: 25 MB at D = 1536."""


@dataclass(frozen=True)
class CohortMeans:
    """features: (N, D) float64, the mean patch of each of `patients`; those without a good slide are not among them.

    passing_slides: slides that are not in them for a reason that may be gone (bags.passing_slides).
    """

    cohort: str
    patients: tuple[str, ...]
    features: np.ndarray
    passing_slides: int = 0


def means_path(out: Path, encoder: str, code: str) -> Path:
    """Where the means of a cohort are kept under the results folder `out`."""
    return out / "borrowing" / encoder / "means" / f"{code}.safetensors"


def measure_means(cohort: Cohort, *, strict: bool = False) -> CohortMeans:
    """Read every slide of `cohort` once, PATCHES patches in memory at a time.

    A slide that cannot be used is left out with a UserWarning; with `strict` it is a StudyError. Raises StudyError when
    no patient is left.
    """
    stream = stream_bags(cohort, strict=strict)
    found: dict[str, np.ndarray] = {}
    try:
        for tile in stream.tiles(PATCHES, PATCHES):
            bags = [tile] if isinstance(tile, LongBag) else [tile.take([bag]) for bag in range(len(tile))]
            for bag in bags:
                patient = bag.patient if isinstance(bag, LongBag) else bag.patients[0]
                mean = _mean_of_parts(bag) if isinstance(bag, LongBag) else bag.features.double().mean(dim=0)
                if mean is not None:
                    found[patient] = mean.numpy()
    except NoBagLeftError as error:
        reason = error.facts.skipped[0].reason
        raise StudyError(f"{cohort.code}: no patient has a slide that can be used; the first slide {reason}") from error
    for slide in stream.skipped:
        leave_out(slide, strict=False, warn=True)
    return CohortMeans(cohort.code, tuple(found), np.stack(list(found.values())), len(passing_slides(cohort, stream)))


def _mean_of_parts(bag: LongBag) -> torch.Tensor | None:
    """(D,) float64; None of a bag without a good slide. A slide that turns out bad midway counts for nothing."""
    while True:
        parts = []
        try:
            for part in bag.parts():
                parts.append((part.sum(dim=0, dtype=torch.float64), len(part)))
        except BagChangedError:
            continue
        if not parts:
            return None
        return torch.stack([total for total, _ in parts]).sum(dim=0) / sum(count for _, count in parts)


def store_means(path: Path, means: CohortMeans, cohort: Cohort) -> None:
    """Write the means with the fingerprint of `cohort`, atomically."""
    facts = {"fingerprint": cohort.fingerprint, "patients": list(means.patients)}
    with atomic_path(path) as temporary:
        save_file({"means": means.features}, temporary, metadata={"borrowing": json.dumps(facts)})


def stored_means(path: Path, cohort: Cohort) -> CohortMeans | None:
    """What `store_means` has written, or None when it is missing, damaged, or not of what `cohort` is today."""
    try:
        with safe_open(path, framework="numpy") as stream:
            facts = json.loads((stream.metadata() or {})["borrowing"])
            features = stream.get_tensor("means")
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    if facts["fingerprint"] != cohort.fingerprint:
        return None
    return CohortMeans(cohort.code, tuple(facts["patients"]), features)


def means_of(cohort: Cohort, path: Path, *, strict: bool = False) -> CohortMeans:
    """The stored means where they are today's; else they are measured, quietly, and stored."""
    found = stored_means(path, cohort)
    if found is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # slides left out are the study's to tell
            found = measure_means(cohort, strict=strict)
        if not found.passing_slides:
            store_means(path, found, cohort)
    return found


def with_outcomes(cohort: Cohort, means: CohortMeans) -> CohortPatients:
    """The patients of `means` with their times and events."""
    rows = cohort.labels.loc[list(means.patients)]
    return CohortPatients(
        cohort.code, means.features, rows["time"].to_numpy(dtype=np.float64), rows["event"].to_numpy(dtype=np.int64)
    )


def fold_splits(cohort: Cohort, patients: Sequence[str]) -> list[Split]:
    """Each fold's training and test patients as indices into `patients`; who is not there is left out."""
    where = {patient: number for number, patient in enumerate(patients)}

    def indices(chosen: Sequence[str]) -> np.ndarray:
        return np.array([where[patient] for patient in chosen if patient in where], dtype=np.int64)

    return [(indices(fold.train), indices(fold.test)) for fold in cohort.folds]
