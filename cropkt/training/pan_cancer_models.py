"""Stored pan-cancer networks: which cohorts train them, where they lie, and the source that they are together."""

from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cropkt.data.bags import Bags, passing_slides, read_bags
from cropkt.data.persons import person_digest
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError
from cropkt.files import digest
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import MILModel
from cropkt.models.precision import torch_dtype
from cropkt.training.cards import PanCancerCard, read_pan_cancer_card, save_with_card
from cropkt.training.config import PAN_CANCER
from cropkt.training.loop import FoldTraining
from cropkt.training.pan_cancer import (
    MOST_PATCHES,
    PAN_CANCER_VERSION,
    PARTS,
    SETTINGS,
    Pool,
    pool_bags,
    thin,
    train_pan_cancer,
)
from cropkt.training.sources import SourceModels, SourcePlan


@dataclass(frozen=True)
class ThinnedCohort:
    """A cohort as pan-cancer networks learn from it: at most MOST_PATCHES patches a patient.

    time, event: (B,) in the order of `bags`. passing_slides: as in cards.SourceCard.
    """

    bags: Bags
    time: np.ndarray
    event: np.ndarray
    passing_slides: tuple[str, ...]


@dataclass(frozen=True)
class PanCancerPlan:
    """The networks that leave out some targets: how they are made, and where they are kept.

    plan: how source models are made; the networks share architecture, seed and precision with them, and have settings
    of their own (pan_cancer.SETTINGS). lenders: who trains them; none shares a patient with a cohort of `left_out`.
    """

    plan: SourcePlan
    left_out: tuple[str, ...]
    lenders: tuple[Cohort, ...]

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return _folder(self.plan, self.left_out)

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything changes that decides what they learn."""
        settings = (MOST_PATCHES, PARTS, asdict(SETTINGS))
        cohorts = [cohort.fingerprint for cohort in self.lenders]
        plan = self.plan
        return digest(PAN_CANCER_VERSION, cohorts, settings, asdict(plan.architecture), plan.seed, plan.precision)

    @property
    def done(self) -> bool:
        """Whether all of them are there, whole and today's."""
        return all(card is not None and card.fingerprint == self.fingerprint for card in self._cards())

    @property
    def lacks_slides(self) -> bool:
        """Whether one was made without slides that may be readable now."""
        return any(card is not None and card.passing_slides for card in self._cards())

    def _cards(self) -> list[PanCancerCard | None]:
        return [read_pan_cancer_card(_weights(self.folder, part)) for part in range(PARTS)]

    def store(self, pool: Pool, trained: Sequence[FoldTraining[MILModel]], passing: Sequence[str]) -> None:
        """Write networks that `pool` has trained; `passing` slides were missing."""
        for fold in trained:
            card = PanCancerCard(
                architecture=fold.model.architecture,
                training=SETTINGS,
                seed=self.plan.seed,
                precision=self.plan.precision,
                left_out=self.left_out,
                cohorts=tuple(cohort.code for cohort in self.lenders),
                part=fold.fold,
                fingerprint=self.fingerprint,
                train_patients=tuple(sorted({person_digest(pool.bags.patients[index]) for index in fold.train})),
                passing_slides=tuple(passing),
                losses=tuple(fold.losses),
            )
            save_with_card(_weights(self.folder, fold.fold), fold.model, card)


def train_networks(
    wanted: PanCancerPlan, held: MutableMapping[str, ThinnedCohort]
) -> tuple[Pool, list[FoldTraining[MILModel]]]:
    """Train and store them; returns what trained them as well. Cohorts are read once, into `held`, by code."""
    plan = wanted.plan
    for cohort in wanted.lenders:
        if cohort.code not in held:
            held[cohort.code] = _thinned(plan, cohort)
    parts = {cohort.code: held[cohort.code] for cohort in wanted.lenders}
    pool = pool_bags([(code, one.bags, one.time, one.event) for code, one in parts.items()], seed=plan.seed)
    trained = train_pan_cancer(pool, plan.architecture, seed=plan.seed, precision=plan.precision)
    wanted.store(pool, trained, [slide for one in parts.values() for slide in one.passing_slides])
    return pool, trained


def load_pan_cancer(plan: SourcePlan, left_out: Sequence[str]) -> SourceModels:
    """The stored networks that leave out `left_out`, on the plan's device: the source PAN_CANCER, a network a "fold".

    Raises CheckpointError when one is missing or damaged.
    """
    folder = _folder(plan, left_out)
    models, cards = [], []
    for part in range(PARTS):
        path = _weights(folder, part)
        models.append(load_model(path, device=plan.device))
        card = read_pan_cancer_card(path)
        if card is None:
            raise CheckpointError(f"{path}: its card is not that of a pan-cancer network; the next run trains it anew")
        cards.append(card)
    return SourceModels(
        PAN_CANCER,
        tuple(card.part for card in cards),
        tuple(models),
        tuple(card.train_patients for card in cards),
        digest([card.fingerprint for card in cards]),
        max(len(card.passing_slides) for card in cards),
    )


def _folder(plan: SourcePlan, left_out: Sequence[str]) -> Path:
    return plan.folder / PAN_CANCER / f"without-{'-'.join(left_out)}"


def _weights(folder: Path, part: int) -> Path:
    return folder / f"network_{part}.safetensors"


def _thinned(plan: SourcePlan, cohort: Cohort) -> ThinnedCohort:
    bags = thin(read_bags(cohort, dtype=torch_dtype(plan.precision), strict=plan.strict), seed=plan.seed)
    rows = cohort.labels.loc[list(bags.patients)]
    return ThinnedCohort(
        bags.to(plan.device),
        rows["time"].to_numpy(dtype=np.float64),
        rows["event"].to_numpy(dtype=np.int64),
        tuple(slide.slide for slide in passing_slides(cohort, bags)),
    )
