"""Stored pan-cancer networks: which cohorts train them, where they lie, and the source that they are together."""

from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cropkt.data.bags import Bags, NoBagError, passing_slides
from cropkt.data.persons import person_digest
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError, StudyError
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
from cropkt.training.sources import SourceModels, SourcePlan, held_bags


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

    sources: how source models are made; the networks share architecture, seed and precision with them, and have
    settings of their own (pan_cancer.SETTINGS). lenders: who trains them; none shares a patient with a cohort of
    `left_out`. some: whether other cohorts of the study could have lent as well; such networks have a folder apart.
    """

    sources: SourcePlan
    left_out: tuple[str, ...]
    lenders: tuple[Cohort, ...]
    some: bool = False

    @property
    def folder(self) -> Path:
        """Where they lie."""
        apart = f"-by-{digest([cohort.code for cohort in self.lenders])[:8]}" if self.some else ""
        return _folder(self.sources, self.left_out, apart)

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything changes that decides what they learn."""
        settings = (MOST_PATCHES, PARTS, asdict(SETTINGS))
        cohorts = [cohort.fingerprint for cohort in self.lenders]
        sources = self.sources
        architecture = asdict(sources.architecture)
        return digest(PAN_CANCER_VERSION, cohorts, settings, architecture, sources.seed, sources.precision)

    @property
    def done(self) -> bool:
        """Whether all of them are there, whole and today's."""
        return all(card is not None and card.fingerprint == self.fingerprint for card in self._cards())

    @property
    def lacks_slides(self) -> bool:
        """Whether one was made without slides that may be readable now."""
        return any(card is not None and card.passing_slides for card in self._cards())

    @property
    def unreadable(self) -> list[str]:
        """The lenders that have trained none, because none of their slides could be used."""
        used = {code for card in self._cards() if card is not None for code in card.cohorts}
        return [cohort.code for cohort in self.lenders if self.done and cohort.code not in used]

    @property
    def bytes_held(self) -> int:
        """Memory that training takes at most: every lender's thinned patches, and the pool that is made of them."""
        each = self.sources.architecture.features * torch_dtype(self.sources.precision).itemsize
        return 2 * each * sum(kept_patches(cohort) for cohort in self.lenders)

    @property
    def weights(self) -> list[Path]:
        """Where each network is."""
        return [_weights(self.folder, part) for part in range(PARTS)]

    def _cards(self) -> list[PanCancerCard | None]:
        return [read_pan_cancer_card(path) for path in self.weights]

    def store(
        self, pool: Pool, trained: Sequence[FoldTraining[MILModel]], codes: Sequence[str], passing: Sequence[str]
    ) -> None:
        """Write networks that `pool`, of the cohorts `codes`, has trained; `passing` slides were missing."""
        for fold in trained:
            card = PanCancerCard(
                architecture=fold.model.architecture,
                training=SETTINGS,
                seed=self.sources.seed,
                precision=self.sources.precision,
                left_out=self.left_out,
                cohorts=tuple(codes),
                part=fold.fold,
                fingerprint=self.fingerprint,
                train_patients=tuple(sorted({person_digest(pool.bags.patients[index]) for index in fold.train})),
                passing_slides=tuple(passing),
                losses=tuple(fold.losses),
            )
            save_with_card(_weights(self.folder, fold.fold), fold.model, card)


def train_networks(
    wanted: PanCancerPlan, held: MutableMapping[str, ThinnedCohort | None]
) -> tuple[Pool, list[str], list[FoldTraining[MILModel]]]:
    """Train and store them; returns the pool that trained them and the codes of its cohorts as well.

    Cohorts are read once, into `held`, by code; None is a cohort that has no slide that can be used: the others train
    without it. Raises StudyError when no cohort is left, or none has an event.
    """
    sources = wanted.sources
    for cohort in wanted.lenders:
        if cohort.code not in held:
            try:
                held[cohort.code] = _thinned(sources, cohort)
            except NoBagError:
                held[cohort.code] = None
    parts = {cohort.code: one for cohort in wanted.lenders if (one := held[cohort.code]) is not None}
    if not parts:
        raise StudyError(
            f"no cohort can train networks without {', '.join(wanted.left_out)}: cohorts that share a patient with it, "
            "have fewer than two patients or no slide that can be used do not"
        )
    pool = pool_bags([(code, one.bags, one.time, one.event) for code, one in parts.items()], seed=sources.seed)
    trained = train_pan_cancer(pool, sources.architecture, seed=sources.seed, precision=sources.precision)
    wanted.store(pool, trained, list(parts), [slide for one in parts.values() for slide in one.passing_slides])
    return pool, list(parts), trained


def kept_patches(cohort: Cohort) -> int:
    """Patches of `cohort` that networks learn from."""
    return int(cohort.slides.groupby("patient_id")["patches"].sum().clip(upper=MOST_PATCHES).sum())


def load_pan_cancer(plan: SourcePlan, weights: Sequence[Path]) -> SourceModels:
    """The stored networks `weights`, on the plan's device: the source PAN_CANCER, a network a "fold".

    Raises CheckpointError when one is missing or damaged.
    """
    models, cards = [], []
    for path in weights:
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


def weights_without(plan: SourcePlan, target: str) -> list[Path]:
    """Where the networks are that every cohort that may lend to `target` has trained."""
    folder = _folder(plan, (target,), "")
    return [_weights(folder, part) for part in range(PARTS)]


def _folder(plan: SourcePlan, left_out: Sequence[str], apart: str) -> Path:
    return plan.folder / PAN_CANCER / f"without-{'-'.join(left_out)}{apart}"


def _weights(folder: Path, part: int) -> Path:
    return folder / f"network_{part}.safetensors"


def _thinned(plan: SourcePlan, cohort: Cohort) -> ThinnedCohort:
    whole = held_bags(plan, cohort)
    bags = thin(whole, seed=plan.seed)
    if bags is not whole:
        whole.release()
    rows = cohort.labels.loc[list(bags.patients)]
    return ThinnedCohort(
        bags.to(plan.device),
        rows["time"].to_numpy(dtype=np.float64),
        rows["event"].to_numpy(dtype=np.int64),
        tuple(slide.slide for slide in passing_slides(cohort, whole)),
    )
