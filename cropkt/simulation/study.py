"""A simulated study with known truth: 26 cohorts in the published layout, and what every pair should show.

The model is in population, the truth in truth; docs/simulation.md explains both.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from cropkt.cohorts import COHORTS
from cropkt.data.slide_files.features import write_h5
from cropkt.errors import StudyError
from cropkt.files import digest
from cropkt.seeds import generator, named_seed
from cropkt.simulation.config import SIZES, SimulationConfig
from cropkt.simulation.population import (
    CohortModel,
    Patients,
    build_cohorts,
    censoring_times,
    event_times,
    show_traits,
)
from cropkt.simulation.truth import TRUTH, pair_truth, patient_truth

__all__ = ["SimulationConfig", "simulate_study"]

ENCODER = "simulated"
PATCH = 256
"""Pixels between neighbouring patches."""


def simulate_study(folder: Path, config: SimulationConfig) -> pd.DataFrame:
    """Simulate a study into `folder`, new or empty, with truth.parquet and truth_patients.parquet beside study.yaml.

    The same config gives the same bytes. The folder appears whole or not at all. Returns columns cohort, patients,
    events, slides, patches. Raises StudyError when `folder` is not empty or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} is not an empty folder; remove it, or simulate into a new one")
    cohorts = build_cohorts(config)
    counts, patients = [], {}
    try:
        with _new_folder(folder) as partial:
            for code, model in cohorts.items():
                patients[code], table = _write_cohort(partial, model, config)
                counts.append(_count(code, table))
            pair_truth(cohorts, config.seed).to_parquet(partial / "truth.parquet", index=False)
            patient_truth(patients).to_parquet(partial / TRUTH, index=False)
            (partial / "study.yaml").write_text(yaml.safe_dump(_settings(config), sort_keys=False))
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written ({error.strerror or error}); give another folder") from error
    return pd.DataFrame(counts)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to fill; it becomes `folder` when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _settings(config: SimulationConfig) -> dict[str, object]:
    # Results go to runs/<name>: studies simulated with other settings must not share the demo study's folder there.
    settings = asdict(config)
    name = "demo" if config == SimulationConfig() else f"demo-{config.transfer}-{config.seed}-{digest(settings)[:6]}"
    return {
        "name": name,
        "folds": config.folds,
        "seed": config.seed,
        "labels": "labels/{cohort}.csv",
        "splits": "splits/{cohort}/splits_{fold}.csv",
        "cohorts": list(config.cohorts),
        "encoders": {ENCODER: {"dim": config.dim, "features": "features/TCGA-{project}/{slide}.h5"}},
    }


def _write_cohort(
    folder: Path, model: CohortModel, config: SimulationConfig
) -> tuple[tuple[list[str], Patients], pd.DataFrame]:
    """Write labels and slides of a cohort; its patients' names and truth, and one row a slide with its patches."""
    code = model.info.code
    random = generator(config.seed, "simulation", "patients", code)
    size = SIZES[code]
    drawn = model.draw(config.patients_of(code), random)
    count = len(drawn.log_risk)
    deaths = event_times(drawn.log_risk, model.scale, random)
    leaves = censoring_times(size, count, random)
    letter = chr(ord("A") + list(COHORTS).index(code))
    names = [f"TCGA-S{letter}-{number:04d}" for number in range(1, count + 1)]
    slides = 1 + (random.random(count) < size.several_slides) * random.integers(1, 3, count)
    projects = random.choice(model.info.projects, count)
    rows = []
    for number, name in enumerate(names):
        features = _patches(model, drawn, number, config, random)
        slide_of_patch = np.sort(np.arange(len(features)) % slides[number])
        for slide in range(min(slides[number], len(features))):
            of_slide = features[slide_of_patch == slide]
            pathology_id = f"{name}-01Z-00-DX{slide + 1}"
            # Published files carry the slide's UUID after the first dot.
            number_128 = named_seed(config.seed, "uuid", pathology_id) << 64 | named_seed(config.seed, pathology_id)
            file = f"{pathology_id}.{str(uuid.UUID(int=number_128)).upper()}.h5"
            write_h5(folder / "features" / f"TCGA-{projects[number]}" / file, of_slide, _positions(len(of_slide)))
            rows.append(
                {
                    "patient_id": name,
                    "pathology_id": pathology_id,
                    "t": int(min(deaths[number], leaves[number])),
                    "e": int(deaths[number] <= leaves[number]),
                    "project": f"TCGA-{projects[number]}",
                    "patches": len(of_slide),
                }
            )
    table = pd.DataFrame(rows)
    path = folder / "labels" / f"{code}.csv"
    path.parent.mkdir(exist_ok=True)
    table.drop(columns="patches").to_csv(path, index=False, lineterminator="\n")
    return (names, drawn), table


def _patches(
    model: CohortModel, drawn: Patients, number: int, config: SimulationConfig, random: np.random.Generator
) -> np.ndarray:
    """(N, D) float32 patches of patient `number`: prototypes in the patient's fractions, traits, shift, and noise."""
    least, most = config.patches
    count = min(most, least + int(random.exponential(0.08 * (most - least) + 1e-9)))
    fractions = drawn.fractions[number]
    kind = random.choice(len(fractions), count, p=fractions)
    staining = 0.3 * random.standard_normal(config.dim)
    noise = random.standard_normal((count, config.dim))
    tissue = model.prototypes[kind]
    if drawn.traits is not None and model.look is not None:
        tissue = show_traits(model.signal, drawn.traits[number], model.look, tissue, random)
    return (tissue + model.shift + staining + noise).astype(np.float32)


def _positions(n_patches: int) -> np.ndarray:
    """(N, 2) int32 pixels, row by row on a square."""
    width = int(np.ceil(np.sqrt(n_patches)))
    place = np.arange(n_patches)
    return (PATCH * np.stack([place % width, place // width], axis=1)).astype(np.int32)


def _count(code: str, table: pd.DataFrame) -> dict[str, str | int]:
    first = table.drop_duplicates("patient_id")
    return {
        "cohort": code,
        "patients": len(first),
        "events": int(first["e"].sum()),
        "slides": len(table),
        "patches": int(table["patches"].sum()),
    }
