"""Source models of a cohort: train the folds that are missing, keep them with a card, load them again."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cropkt.data.bags import Bags, passing_slides, read_bags
from cropkt.data.persons import person_digest
from cropkt.data.streams.stream import resident_bytes
from cropkt.data.streams.tiles import runs_of_bags
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError, StudyError
from cropkt.files import digest
from cropkt.models.checkpoint import ModelFolder, build_null_model, load_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.models.precision import torch_dtype
from cropkt.models.predict import PATCHES_PER_TILE, predict
from cropkt.survival.concordance import concordance
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.cards import (
    NullCard,
    SourceCard,
    flat,
    read_null_card,
    read_source_card,
    save_with_card,
    source_card,
)
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.targets import survival_targets
from cropkt.version import VERSION

TRAINING_VERSION = 3
"""Raised when the code changes what a model of the same settings learns, so that old models are trained again."""


@dataclass(frozen=True)
class SourcePlan:
    """How source models are made and where they are kept.

    `folder` holds `null.safetensors` and one folder a cohort. `precision` is resolved ("float32" or "bfloat16").
    `memory`: bytes that patches may fill in this process, or None for no limit; it decides no number.
    """

    folder: Path
    architecture: Architecture
    training: TrainingConfig
    seed: int
    precision: str = "float32"
    device: str = "cpu"
    strict: bool = False
    memory: int | None = None

    @property
    def trained_with(self) -> TrainedWith:
        """How to read the outputs of this plan's models."""
        return TrainedWith(self.training.loss, self.precision)

    def model_path(self, code: str, fold: int) -> Path:
        """Weights of source model (cohort, fold)."""
        return ModelFolder(self.folder).weights(code, fold)

    def null_path(self) -> Path:
        """Weights of the common start."""
        return ModelFolder(self.folder).null

    def holds(self, cohort: Cohort) -> bool:
        """Whether the patches of `cohort` fit in `memory`."""
        return self.memory is None or resident_bytes(cohort, torch_dtype(self.precision)) <= self.memory

    @cached_property
    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A sweep asks for ten thousand fingerprints."""
        return asdict(self.architecture), asdict(self.training)

    def fingerprint(self, cohort: Cohort, fold: int) -> str:
        """Changes whenever anything changes that decides the weights of source model (cohort, fold)."""
        return digest(
            TRAINING_VERSION,
            cohort.fingerprint,
            fold,
            *self._settings,
            self.seed,
            self.precision,
        )


@dataclass(frozen=True)
class SourceModels:
    """The fold models of one source cohort.

    seen: by model, digests (persons.person_digest) of the patients it has seen, training and validation.
    passing_slides: slides they lack for a reason that may be gone (bags.passing_slides).
    """

    cohort: str
    folds: tuple[int, ...]
    models: tuple[MILModel, ...]
    seen: tuple[tuple[str, ...], ...]
    fingerprint: str
    passing_slides: int = 0


def store_null_model(plan: SourcePlan) -> None:
    """Build and store the common start of all source models, once, with the settings that all of them share.

    Raises CheckpointError when the folder's models were made with other settings: two kinds of models in one
    transfer matrix could not be compared.
    """
    wanted = NullCard(plan.architecture, plan.training, plan.seed, plan.precision)
    found = read_null_card(plan.null_path())
    if found is None:
        null = build_null_model(plan.architecture, plan.seed)
        null.trained_with = plan.trained_with
        save_with_card(plan.null_path(), null, wanted)
        return
    then, now = flat(found), flat(wanted)
    changed = [f"{key} was {then[key]}, is {value}" for key, value in now.items() if then[key] != value]
    if changed:
        raise CheckpointError(
            f"{plan.folder}: its models were made with other settings ({'; '.join(changed)}). "
            "Use another --out for these settings, or delete this folder to start again"
        )


def missing_folds(plan: SourcePlan, cohort: Cohort, folds: Sequence[int]) -> list[int]:
    """Those of `folds` that are to be trained: untrained, or made without slides that may be readable now."""
    cards = {fold: read_source_card(plan.model_path(cohort.code, fold)) for fold in folds}
    incomplete = {fold for fold, card in cards.items() if card is not None and card.passing_slides}
    return sorted({*untrained_folds(plan, cohort, folds), *incomplete})


def untrained_folds(plan: SourcePlan, cohort: Cohort, folds: Sequence[int]) -> list[int]:
    """Those of `folds` whose model is absent, damaged, or would be trained differently today."""
    untrained = []
    for fold in folds:
        card = read_source_card(plan.model_path(cohort.code, fold))
        if card is None or card.fingerprint != plan.fingerprint(cohort, fold):
            untrained.append(fold)
    return untrained


def train_cohort(
    plan: SourcePlan,
    cohort: Cohort,
    folds: Sequence[int],
    *,
    report: Callable[[int], None] | None = None,
) -> list[SourceCard]:
    """Train and store the models of `folds` of `cohort`; returns their cards.

    All folds learn from the same resident bags. `report(epoch)` is called after each epoch. Raises StudyError when
    a fold has no training patient with features.
    """
    bags = held_bags(plan, cohort)
    targets = survival_targets(cohort, bags, device=plan.device)
    jobs = []
    for fold in folds:
        start = load_model(plan.null_path(), device=plan.device).train()
        jobs.append(FoldTraining(fold, start, bags.indices_of(cohort.folds[fold].train)))
        if not len(jobs[-1].train):
            raise StudyError(f"{cohort.code}, fold {fold}: no training patient has readable features")
    train_folds(
        jobs,
        bags,
        targets,
        plan.training,
        seed=plan.seed,
        stream=cohort.code,
        precision=plan.precision,
        report=report,
    )
    return [_store(plan, cohort, bags, targets, job) for job in jobs]


def held_bags(plan: SourcePlan, cohort: Cohort) -> Bags:
    """The bags of `cohort`, resident on the plan's device where they fit in its memory.

    Else they are a memory-mapped file beside the models, which vanishes with the bags; a GPU is sent what it works on.
    """
    holds = plan.holds(cohort)
    scratch = None if holds else plan.folder
    bags = read_bags(cohort, dtype=torch_dtype(plan.precision), strict=plan.strict, scratch=scratch)
    return bags.to(plan.device) if holds else bags


def _store(
    plan: SourcePlan, cohort: Cohort, bags: Bags, labels: SurvivalTargets, job: FoldTraining[MILModel]
) -> SourceCard:
    split = cohort.folds[job.fold]
    test = bags.indices_of(split.test)
    own = None
    if len(test):
        risk = np.concatenate([_risk(job.model, bags, tile) for tile in _tiles(bags, test)])
        own = concordance(labels.time.cpu().numpy()[test], labels.event.cpu().numpy()[test], risk)
    card = SourceCard(
        architecture=plan.architecture,
        training=plan.training,
        seed=plan.seed,
        precision=plan.precision,
        cohort=cohort.code,
        fold=job.fold,
        encoder=cohort.encoder.name,
        data_fingerprint=cohort.fingerprint,
        fingerprint=plan.fingerprint(cohort, job.fold),
        train_patients=tuple(person_digest(bags.patients[index]) for index in job.train),
        validation_patients=tuple(map(person_digest, split.validation)),
        test_c_index=None if own is None or not own.comparable else own.c_index,
        test_comparable=0 if own is None else own.comparable,
        skipped_slides=tuple(slide.slide for slide in bags.skipped),
        passing_slides=tuple(slide.slide for slide in passing_slides(cohort, bags)),
        losses=tuple(job.losses),
        learning_rates=tuple(job.rates),
        versions={"cropkt": VERSION, "torch": torch.__version__, "python": platform.python_version()},
    )
    save_with_card(plan.model_path(cohort.code, job.fold), job.model, card)
    return card


def _risk(model: MILModel, bags: Bags, chosen: np.ndarray) -> np.ndarray:
    risk = predict([model], bags.take(chosen).sent_to(next(model.parameters()).device)).risk[0]
    bags.release()
    return risk


def _tiles(bags: Bags, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """The bags `chosen` (indices) in tiles, so that no more of them than a tile is copied at once."""
    patches = PATCHES_PER_TILE.get(bags.device.type, PATCHES_PER_TILE["cpu"])
    for run in runs_of_bags(bags.lengths.cpu().numpy()[chosen], patches):
        yield chosen[run.start : run.stop]


def source_fingerprint(plan: SourcePlan, cohort: Cohort, folds: Sequence[int]) -> str:
    """What `load_source_models` will call its fingerprint, when the stored models are today's."""
    return digest([plan.fingerprint(cohort, fold) for fold in folds])


def load_source_models(plan: SourcePlan, code: str, folds: Sequence[int]) -> SourceModels:
    """The stored models of `code`'s `folds`, on the plan's device.

    Raises CheckpointError when one is missing, damaged, or of another architecture than the plan's.
    """
    models, cards = [], []
    for fold in folds:
        path = plan.model_path(code, fold)
        model = load_model(path, device=plan.device)
        if model.architecture != plan.architecture:
            raise CheckpointError(f"{path}: is {model.architecture}, but {plan.architecture} is asked for")
        models.append(model)
        cards.append(source_card(path))
    return SourceModels(
        code,
        tuple(folds),
        tuple(models),
        tuple(card.seen for card in cards),
        digest([card.fingerprint for card in cards]),
        max(len(card.passing_slides) for card in cards),
    )
