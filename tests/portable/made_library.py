"""A small run on disk, as a sweep leaves it, and its library."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from small_studies import DIM, SmallStudy, small_plan, write_study

from cropkt.data.bags import read_bags
from cropkt.data.study import Study, open_study
from cropkt.portable.bundle import Library
from cropkt.portable.export import ExportSettings, export_library
from cropkt.training.sources import load_source_models, source_fingerprint, store_null_model, train_cohort
from cropkt.transfer.assemble import write_tables
from cropkt.transfer.pair import hold_target, measure_pair, pair_fingerprint
from cropkt.transfer.store import ResultsFolder, store_pair

CODES = ("acc", "uvm", "meso")
FOLDS = (0, 1, 2)
ENCODER = "uni2-h"


@dataclass(frozen=True)
class Made:
    """A study, the results of a sweep on it, and the library made of both."""

    small: SmallStudy
    study: Study
    results: ResultsFolder
    library: Library


def make_run(folder: Path, patients: int = 30) -> tuple[SmallStudy, Study, ResultsFolder]:
    """Three cohorts, all pairs of which are measured. Who dies early has features that say so."""
    small = write_study(folder / "study", *CODES, patients=patients)
    for code in CODES:
        _plant(small, code)
    return small, *sweep(small, folder)


def sweep(small: SmallStudy, folder: Path) -> tuple[Study, ResultsFolder]:
    """The results, in `folder`/out, of a sweep of the study's cohorts on each other."""
    study = open_study(small.folder)
    results = ResultsFolder(folder / "out", ENCODER, "abmil")
    plan = small_plan(results.models.path, epochs=8)
    store_null_model(plan)
    for code in study.cohorts:
        train_cohort(plan, study.cohorts[code], FOLDS)
    for target in study.cohorts:
        held = hold_target(study.cohorts[target], read_bags(study.cohorts[target]))
        for source in study.cohorts:
            pair = measure_pair(load_source_models(plan, source, FOLDS), held)
            print_of = pair_fingerprint(
                source_fingerprint(plan, study.cohorts[source], FOLDS), study.cohorts[target], plan.precision
            )
            store_pair(results, pair, fingerprint=print_of, patients=held.bags.patients, seconds=0.0)
    write_tables(results, lambda source, target: results.record(source, target).fingerprint)  # type: ignore[union-attr]
    return study, results


def make(folder: Path) -> Made:
    """The run and its library, in `folder`/library."""
    small, study, results = make_run(folder)
    library = export_library(results, study, folder / "library", ExportSettings(), report=lambda _: None)
    return Made(small, study, results, library)


def patches(danger: float, slide: str, random: np.random.Generator) -> np.ndarray:
    """A slide (N, DIM) of a patient: the first feature says the danger."""
    values = random.normal(size=(4 + len(slide) % 5, DIM)).astype(np.float32)
    values[:, 0] += danger
    return values


def _plant(small: SmallStudy, code: str) -> None:
    """Times between 1 and 6 years, shorter the larger the first feature; two thirds die."""
    rows = small.rows(code)
    random = np.random.default_rng(len(code) + sum(map(ord, code)))
    danger = {patient: random.normal() for patient in sorted({row[0] for row in rows[1:]})}
    for row in rows[1:]:
        small.write_slide(row[4].removeprefix("TCGA-"), row[1], patches(danger[row[0]], row[1], random))
    outcome = {patient: (1200 * np.exp(-0.7 * risk) * random.uniform(0.5, 1.5)) for patient, risk in danger.items()}
    for row in rows[1:]:
        row[2], row[3] = str(int(30 + outcome[row[0]])), str(int(sum(map(ord, row[0])) % 3 != 0))
    small.write_rows(code, rows)
