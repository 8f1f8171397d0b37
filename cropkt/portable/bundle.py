"""A library on disk: one folder in Hugging Face's layout, whose digests are checked when it is opened.

    config.json             what it is: encoder, architecture, sources, cohorts, digests, provenance
    model.safetensors       weights: null.NAME, sources.CODE.FOLD.NAME
    statistics.safetensors  seen.CODE.FIELD (seen.py), references.SOURCE.COHORT.FIELD (reference.py)
    transfer.csv            the transfer matrix, a row per pair
    advice.json             which source to take for a cohort (advice.py)
    README.md, LICENSE      the model card, and the licence of the weights

Nothing in it is of one patient: no ids, no digests of ids, no slide names, no rows of a table.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open

from cropkt.errors import CheckpointError, ConfigError, refuse_unknown
from cropkt.files import content_digest, digest, read_json
from cropkt.models.mil import Architecture, MILModel, TrainedWith, build_model
from cropkt.portable.advice import ADVICE
from cropkt.portable.reference import Reference
from cropkt.portable.seen import SeenFeatures
from cropkt.survival.calibration import Recalibration
from cropkt.training.config import TrainingConfig

FORMAT = 2
CONFIG, WEIGHTS, STATISTICS, MATRIX = "config.json", "model.safetensors", "statistics.safetensors", "transfer.csv"
DIGESTED = (WEIGHTS, STATISTICS, MATRIX, ADVICE)
ENSEMBLE = "ensemble"
"""The source that is all other sources of a cohort together (the mean of their percentiles)."""
CALIBRATED = "calibration."
"""The beginning of the names of a reference's calibration, after that of the reference."""

Record = TypeVar("Record", SeenFeatures, Reference, Recalibration)


@dataclass(frozen=True)
class ModelEntry:
    """The model of one fold of a source: how many patients it has seen, and how it does at home."""

    fold: int
    training_patients: int
    validation_patients: int
    test_c_index: float | None
    fingerprint: str


@dataclass(frozen=True)
class CohortEntry:
    """A cohort of the study. models: of its folds, none for a cohort that is a target alone. references: the sources
    whose risk can be read in it. members: of its ensemble."""

    name: str
    models: tuple[ModelEntry, ...]
    references: tuple[str, ...]
    members: tuple[str, ...]


@dataclass(frozen=True)
class LibraryConfig:
    """What a library is. provenance: versions, study, dates; licence: as in the model card."""

    study: str
    encoder: str
    architecture: Architecture
    training: TrainingConfig
    precision: str
    cohorts: Mapping[str, CohortEntry]
    licence: str
    provenance: Mapping[str, str]

    @property
    def trained_with(self) -> TrainedWith:
        """How to read the models' outputs."""
        return TrainedWith(self.training.loss, self.precision)

    @property
    def sources(self) -> tuple[str, ...]:
        """Cohorts with models."""
        return tuple(code for code, entry in self.cohorts.items() if entry.models)


@dataclass(frozen=True)
class Library:
    """An opened library. Weights and statistics are read when they are asked for."""

    folder: Path
    config: LibraryConfig

    def folds(self, source: str) -> tuple[int, ...]:
        """The folds of `source`'s models. Raises ConfigError for a source without any."""
        refuse_unknown("source", source, self.config.sources)
        return tuple(entry.fold for entry in self.config.cohorts[source].models)

    def models(self, source: str, *, device: str = "cpu") -> list[MILModel]:
        """`source`'s models, one for each of its `folds`, in eval mode."""
        return [self._model(model_prefix(source, fold), device) for fold in self.folds(source)]

    def null(self, *, device: str = "cpu") -> MILModel:
        """The common start of all models."""
        return self._model("null.", device)

    def seen(self, code: str) -> SeenFeatures | None:
        """The slides of `code`; None where they were too few, or not read at the export."""
        refuse_unknown("cohort", code, list(self.config.cohorts))
        found = self._statistics(f"seen.{code}.")
        return _record(SeenFeatures, found) if found else None

    def reference(self, source: str, code: str) -> Reference:
        """How the risk of `source` (or ENSEMBLE) reads in `code`. Raises ConfigError where it was not measured."""
        refuse_unknown("cohort", code, list(self.config.cohorts))
        known = self.config.cohorts[code].references
        if source not in known:
            raise ConfigError(
                f"{self.folder}: nothing is known of source {source!r} in cohort {code!r}; "
                f"known there: {', '.join(known) or 'nothing'}"
            )
        found = self._statistics(reference_prefix(source, code))
        calibration = {name.partition(".")[2]: value for name, value in found.items() if name.startswith(CALIBRATED)}
        found = {name: value for name, value in found.items() if not name.startswith(CALIBRATED)}
        return _record(
            Reference, {**found, "calibration": _record(Recalibration, calibration) if calibration else None}
        )

    def _model(self, prefix: str, device: str) -> MILModel:
        with torch.device("meta"):
            model = build_model(self.config.architecture)
        with safe_open(self.folder / WEIGHTS, framework="pt", device=device) as file:
            model.load_state_dict({name: file.get_tensor(prefix + name) for name in model.state_dict()}, assign=True)
        model.trained_with = self.config.trained_with
        return model.to(device).eval()

    def _statistics(self, prefix: str) -> dict[str, np.ndarray]:
        with safe_open(self.folder / STATISTICS, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a mapping
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def model_prefix(source: str, fold: int) -> str:
    """The beginning of the names of a source model's weights."""
    return f"sources.{source}.{fold}."


def reference_prefix(source: str, code: str) -> str:
    """The beginning of the names of a reference's numbers."""
    return f"references.{source}.{code}."


def arrays_of(record: Any) -> dict[str, np.ndarray]:
    """The fields of a dataclass of numbers and arrays, those of a dataclass in it by dotted name; None is left out."""
    found: dict[str, np.ndarray] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if hasattr(value, "__dataclass_fields__"):
            found |= {f"{item.name}.{name}": array for name, array in arrays_of(value).items()}
        elif value is not None:
            found[item.name] = np.asarray(value, order="C")
    return found


def config_to_json(config: LibraryConfig, files: Mapping[str, str]) -> dict[str, Any]:
    """What config.json holds: `config`, the content digests of the other `files`, and a digest of all this."""
    content = {"library_name": "cropkt", "format": FORMAT, **asdict(config), "files": dict(files)}
    return {**content, "digest": digest(content)}


def open_library(folder: Path) -> Library:
    """Open the library in `folder`. Raises CheckpointError where it is none, damaged, or of another format."""
    content = read_json(folder / CONFIG)
    if content is None or content.get("library_name") != "cropkt":
        raise CheckpointError(f"{folder}: no library here ({CONFIG} is missing or not one of a library); export one")
    if content.get("format") != FORMAT:
        raise CheckpointError(f"{folder}: has format {content.get('format')}, this version {FORMAT}; export it again")
    stated = content.pop("digest", None)
    if stated != digest(content):
        raise CheckpointError(f"{folder / CONFIG}: changed since the export; copy the library again")
    for name in DIGESTED:
        _require_whole(folder / name, content["files"].get(name))
    try:
        return Library(folder, _config(content))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not a library's ({error!r}); export it again") from error


def _require_whole(path: Path, known: str | None) -> None:
    try:
        found = content_digest(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); copy the library again") from error
    if found != known:
        raise CheckpointError(f"{path}: not as it was exported; copy the library again")


def _config(content: Mapping[str, Any]) -> LibraryConfig:
    values = {item.name: content[item.name] for item in fields(LibraryConfig)}
    cohorts = {}
    for code, entry in values["cohorts"].items():
        models = tuple(ModelEntry(**model) for model in entry["models"])
        lists = {name: tuple(entry[name]) for name in ("references", "members")}
        cohorts[code] = CohortEntry(entry["name"], models, **lists)
    architecture, training = Architecture(**values["architecture"]), TrainingConfig(**values["training"])
    return LibraryConfig(**{**values, "architecture": architecture, "training": training, "cohorts": cohorts})


def _record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A dataclass from arrays; those without an axis are numbers."""
    plain = {name: value.item() if getattr(value, "ndim", 1) == 0 else value for name, value in values.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise CheckpointError(f"the statistics of a library do not fit this version ({error}); export again") from error
