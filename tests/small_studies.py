"""A small valid study on disk, for tests to open, to break first, or to train small models on."""

import csv
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from cropkt.cohorts import cohort_info
from cropkt.data.slide_files.features import write_h5

if TYPE_CHECKING:
    from cropkt.models.mil import Architecture
    from cropkt.training.sources import SourcePlan

DIM = 6
HEADER = ["patient_id", "pathology_id", "t", "e", "project"]


@dataclass
class SmallStudy:
    """A study of cohorts with 12 patients each; every third patient has two slides, every second an event."""

    folder: Path

    def labels(self, code: str) -> Path:
        return self.folder / "labels" / f"{code}.csv"

    def features(self, project: str, slide: str) -> Path:
        return self.folder / "features" / f"TCGA-{project}" / f"{slide}.h5"

    def split(self, code: str, fold: int) -> Path:
        return self.folder / "splits" / code / f"splits_{fold}.csv"

    def rows(self, code: str) -> list[list[str]]:
        """The label table, its header first: rows()[n] is line n + 1."""
        with open(self.labels(code), newline="") as stream:
            return list(csv.reader(stream))

    def write_rows(self, code: str, rows: Sequence[Sequence[str]]) -> None:
        with open(self.labels(code), "w", newline="") as stream:
            csv.writer(stream).writerows(rows)

    def set_cell(self, code: str, row: int, column: str, value: str) -> None:
        """Set a cell of the 1-based line `row`."""
        rows = self.rows(code)
        rows[row - 1][HEADER.index(column)] = value
        self.write_rows(code, rows)

    def settings(self) -> dict[str, Any]:
        return yaml.safe_load((self.folder / "study.yaml").read_text())

    def set(self, **keys: Any) -> None:
        """Set keys of study.yaml; None removes one."""
        values = {key: value for key, value in (self.settings() | keys).items() if value is not None}
        (self.folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def write_slide(self, project: str, slide: str, values: np.ndarray) -> None:
        write_h5(self.features(project, slide), values, np.zeros((len(values), 2), np.int32))


def slide_values(slide: str, patches: int) -> np.ndarray:
    """Features (patches, DIM) no other slide has: a function of the slide's name."""
    return np.random.default_rng(zlib.crc32(slide.encode())).normal(size=(patches, DIM)).astype(np.float32)


def write_study(folder: Path, *codes: str, patients: int = 12) -> SmallStudy:
    """Write a valid study of these cohorts into `folder`, which must not be there yet."""
    shutil.copytree(Path(_written(codes or ("acc",), patients).name) / "study", folder)
    return SmallStudy(folder)


@cache
def _written(codes: tuple[str, ...], patients: int) -> "TemporaryDirectory[str]":
    """The study, for copies: they take a tenth of the time that writing its slides takes."""
    kept = TemporaryDirectory(prefix="small-study-")
    study = SmallStudy(Path(kept.name) / "study")
    study.labels("x").parent.mkdir(parents=True)
    for code in codes:
        projects = cohort_info(code).projects or (code.upper(),)
        rows = [HEADER]
        for number in range(patients):
            project = projects[number % len(projects)]
            patient = f"TCGA-{code[:2].upper()}-{number:04d}"
            for slide_number in range(1 + (number % 3 == 0)):
                slide = f"{patient}-01Z-00-DX{slide_number + 1}"
                patches = 2 + (number + slide_number) % 5
                study.write_slide(project, slide, slide_values(slide, patches))
                rows.append([patient, slide, str(100 + 10 * number), str(number % 2), f"TCGA-{project}"])
        study.write_rows(code, rows)
    settings = {
        "name": "small",
        "folds": 3,
        "labels": "labels/{cohort}.csv",
        "encoders": {"uni2-h": {"dim": DIM, "features": "features/TCGA-{project}/{slide}.h5"}},
    }
    (study.folder / "study.yaml").write_text(yaml.safe_dump(settings))
    return kept


def small_architecture() -> "Architecture":
    """A model of the features of a small study."""
    from cropkt.models.mil import Architecture

    return Architecture(features=DIM, embedding=8, attention=5)


def small_plan(folder: Path, **changes: Any) -> "SourcePlan":
    """How to train models that learn a small study within a second; `changes` go into the training configuration."""
    from cropkt.training.config import TrainingConfig
    from cropkt.training.sources import SourcePlan

    training = {"epochs": 3, "bags_per_update": 3, "learning_rate": 1e-2} | changes
    return SourcePlan(folder, small_architecture(), TrainingConfig(**training), seed=7)
