"""Pan-cancer networks: trained on the patients of many cohorts, every update on patients of one of them.

Cox's partial likelihood compares the patients of an update. With updates of one cohort it is stratified by cohort: a
network learns who dies earlier among patients of the same cancer, never which cancer is worse. Cohorts take turns, so
each weighs the same, whatever its size.

The patients of every cohort are in PARTS parts, and network p does not learn from part p. So every patient has a
network that has not seen it, and what its vectors there tell of its outcome is no memory (rivals/pan_cancer.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cropkt.data.bags import Bags
from cropkt.data.persons import person_of
from cropkt.errors import StudyError
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel
from cropkt.seeds import generator
from cropkt.survival.losses import LOSSES, SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.pieces import sample_patches

PAN_CANCER_VERSION = 2
"""Raised when the code changes what a network of the same patients and settings learns."""
PARTS = 2
MOST_PATCHES = 256
"""Patches that are kept of a patient, drawn once: all cohorts are in memory together."""
LOSS = "cox_nll"
SETTINGS = TrainingConfig(loss=LOSS, bags_per_update=32, learning_rate=1e-3, epochs=8)
"""Chosen by the C-index of patients that a network has not seen, on simulated studies (docs/borrowing.md)."""


@dataclass(frozen=True)
class Pool:
    """B bags of several cohorts, one cohort after the other.

    cohort: (B,) number of the cohort. part: (B,) which network does not learn from the bag. time, event: (B,).
    """

    bags: Bags
    cohort: np.ndarray
    part: np.ndarray
    time: np.ndarray
    event: np.ndarray


def thin(bags: Bags, *, seed: int) -> Bags:
    """`bags` with at most MOST_PATCHES patches a bag, drawn by patient."""
    if int(bags.lengths.max()) <= MOST_PATCHES:
        return bags
    ends = bags.offsets.cpu().numpy()
    return sample_patches(
        bags, np.arange(len(bags)), ends, MOST_PATCHES, lambda patient: generator(seed, "kept patches", patient)
    )


def pool_bags(parts: Sequence[tuple[str, Bags, np.ndarray, np.ndarray]], *, seed: int) -> Pool:
    """The pool of cohorts, each given as (code, bags, time, event); events are spread evenly over its parts.

    A person who is in several cohorts is in one part, that of the first.
    """
    features = torch.cat([bags.features for _, bags, _, _ in parts])
    lengths = torch.cat([bags.lengths for _, bags, _, _ in parts])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    patients = tuple(patient for _, bags, _, _ in parts for patient in bags.patients)
    return Pool(
        Bags(patients, features, offsets),
        np.concatenate([np.full(len(bags), number) for number, (_, bags, _, _) in enumerate(parts)]),
        _one_part_a_person(patients, np.concatenate([_parts_of(code, event, seed) for code, _, _, event in parts])),
        np.concatenate([time for _, _, time, _ in parts]),
        np.concatenate([event for _, _, _, event in parts]),
    )


def _parts_of(code: str, event: np.ndarray, seed: int) -> np.ndarray:
    random = generator(seed, "pan-cancer parts", code)
    deck = np.concatenate([random.permutation(np.flatnonzero(event)), random.permutation(np.flatnonzero(1 - event))])
    part = np.empty(len(deck), dtype=np.int64)
    part[deck] = np.arange(len(deck)) % PARTS
    return part


def _one_part_a_person(patients: Sequence[str], part: np.ndarray) -> np.ndarray:
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(person_of(patient), int(one)) for patient, one in zip(patients, part, strict=True)]
    )


def train_pan_cancer(
    pool: Pool, architecture: Architecture, *, seed: int, precision: str, settings: TrainingConfig = SETTINGS
) -> list[FoldTraining[MILModel]]:
    """PARTS networks; network p has learnt from the bags of every other part. `seed` decides everything random.

    Each comes with the bags that it has learnt from (`train`, indices) and the loss of every update. Raises StudyError
    where a network has no event to learn from.
    """
    device = pool.bags.features.device
    targets = SurvivalTargets(
        torch.tensor(pool.time, dtype=torch.float64, device=device),
        torch.tensor(pool.event, dtype=torch.int64, device=device),
        torch.zeros(len(pool.time), dtype=torch.int64, device=device),  # Cox has no intervals
    )
    shape = replace(architecture, intervals=LOSSES[settings.loss].intervals)
    networks = []
    for part in range(PARTS):
        train = np.flatnonzero(pool.part != part)
        if not pool.event[train].any():
            raise StudyError(
                f"the cohorts that train them have {int(pool.event.sum())} events; each network needs some"
            )
        turns = _Turns(pool, train, settings.bags_per_update, seed, part)
        fold = FoldTraining(part, build_null_model(shape, seed).to(device), train)
        train_folds(
            [fold], pool.bags, targets, settings, seed=seed, stream="pan-cancer", precision=precision, order=turns.walk
        )
        networks.append(fold)
    return networks


@dataclass(frozen=True)
class _Turns:
    """The order of bags in which every update holds bags of one cohort. Cohorts without an event teach nothing."""

    pool: Pool
    train: np.ndarray
    size: int
    seed: int
    part: int

    def walk(self, epoch: int) -> np.ndarray:
        """As many updates as the training bags would fill; a cohort smaller than an update is repeated in it."""
        random = generator(self.seed, "cohorts take turns", self.part, epoch)
        cohort, event = self.pool.cohort[self.train], self.pool.event[self.train]
        members = [self.train[cohort == number] for number in np.unique(cohort[event == 1])]
        updates = -(-len(self.train) // self.size)
        rounds = -(-updates // len(members))
        turns = np.concatenate([random.permutation(len(members)) for _ in range(rounds)])[:updates]
        return np.concatenate([np.resize(random.permutation(members[turn]), self.size) for turn in turns])
