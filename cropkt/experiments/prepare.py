"""Everything that is checked and settled before anything expensive starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cropkt.data.study import Study, open_study
from cropkt.errors import ConfigError
from cropkt.experiments.config import DEMO_STUDY, RunConfig
from cropkt.models.mil import Architecture
from cropkt.models.precision import PRECISIONS
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import SourcePlan
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class Selection:
    """What the run covers: the opened study, source and target codes, source folds, and where results go."""

    study: Study
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    folds: tuple[int, ...]
    architecture: Architecture
    training: TrainingConfig
    results: ResultsFolder

    def pairs(self) -> list[tuple[str, str]]:
        """(source, target), target by target, so that a worker keeps a target resident."""
        return [(source, target) for target in self.targets for source in self.sources]


def select(config: RunConfig) -> Selection:
    """Open and check the study, and settle what `config` selects of it. Simulates the demo study on first use.

    Raises StudyError with everything that is wrong with the study, ConfigError for selections it cannot meet.
    """
    training = TrainingConfig(
        epochs=config.epochs,
        bags_per_update=config.bags_per_update,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        loss=config.loss,
        drop_partial_update=config.protocol == "paper",
    )
    folder = config.study
    if folder is None:
        folder = DEMO_STUDY
        if not (folder / "study.yaml").exists():
            from cropkt.simulation.study import SimulationConfig, simulate_study

            simulate_study(folder, SimulationConfig())
    # Workers run elsewhere, in other working folders.
    study = open_study(folder.resolve(), encoder=config.encoder)
    architecture = Architecture(
        features=study.encoder.dim,
        name=config.architecture,
        intervals=1 if training.loss == "cox_nll" else 32,
    )
    fold_count = len(next(iter(study.cohorts.values())).folds)
    for fold in config.folds:
        if fold >= fold_count:
            raise ConfigError(f"--folds names fold {fold}; study {study.name} has folds 0 to {fold_count - 1}")
    if config.device == "cuda" and config.ray_address is None and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this machine has no CUDA device that torch can use; use --device cpu")
    if config.precision not in PRECISIONS:
        raise ConfigError(f"--precision {config.precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    out = config.out or Path("runs") / study.name
    return Selection(
        study,
        _known("--sources", config.sources, study),
        _known("--targets", config.targets, study),
        config.folds or tuple(range(fold_count)),
        architecture,
        training,
        ResultsFolder(out.resolve(), study.encoder.name, config.architecture),
    )


def source_plan(selection: Selection, config: RunConfig, *, device: str, precision: str) -> SourcePlan:
    """How this run's source models are made; `device` and `precision` are settled ones, not "auto"."""
    return SourcePlan(
        folder=selection.results.models.path,
        architecture=selection.architecture,
        training=selection.training,
        seed=config.seed,
        precision=precision,
        device=device,
        strict=config.strict,
    )


def _known(flag: str, codes: Sequence[str], study: Study) -> tuple[str, ...]:
    unknown = [code for code in codes if code not in study.cohorts]
    if unknown:
        raise ConfigError(
            f"{flag}: study {study.name} has no cohort {', '.join(unknown)}; it has {', '.join(study.cohorts)}"
        )
    return tuple(code for code in study.cohorts if not codes or code in codes)
