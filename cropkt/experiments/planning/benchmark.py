"""How fast this machine reads, trains and scores: a few seconds of each, with models and bags of the run's size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cropkt.data.bags import Bags
from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.models.checkpoint import build_null_model
from cropkt.models.precision import torch_dtype
from cropkt.models.predict import predict
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.sources import SourcePlan

SECONDS = 2.0
"""Time given to each of the three measurements."""
LONGEST_BAG = 4096
PATCHES = 16_384


@dataclass(frozen=True)
class Speed:
    """Bytes of feature files read a second, patches trained a second by one fold's model, and patches scored a second
    by one model of several that are asked together. With all cores (or the GPU) at work."""

    bytes_read: float
    patches_trained: float
    patches_scored: float


def measure_speed(plan: SourcePlan, files: Sequence[str], patches_per_bag: float, n_folds: int) -> Speed:
    """Measure with some of `files`, and with random bags of about `patches_per_bag` patches."""
    size = int(min(max(patches_per_bag, 1), LONGEST_BAG))
    bags = _random_bags(plan, size, max(4, min(64, PATCHES // size)))
    return Speed(_reading(files), _training(plan, bags), _scoring(plan, bags, n_folds))


def _reading(files: Sequence[str]) -> float:
    started, done = time.perf_counter(), 0
    for file in files[:: max(1, len(files) // 64)]:
        try:
            read_features(file)
            done += Path(file).stat().st_size
        except (FeatureFileError, OSError):
            continue
        if time.perf_counter() - started > SECONDS:
            break
    return done / max(time.perf_counter() - started, 1e-9)


def _training(plan: SourcePlan, bags: Bags) -> float:
    targets = SurvivalTargets(*(torch.arange(len(bags), device=plan.device) % n for n in (1000, 2, 4)))
    model = build_null_model(plan.architecture, plan.seed).to(plan.device)

    def epoch() -> None:
        fold = FoldTraining(0, model, np.arange(len(bags)))
        one = _one_epoch(plan)
        train_folds([fold], bags, targets, one, seed=plan.seed, stream="benchmark", precision=plan.precision)

    return _rate(epoch, len(bags.features), plan.device)


def _one_epoch(plan: SourcePlan) -> TrainingConfig:
    return replace(plan.training, epochs=1, warmup_epochs=0, drop_partial_update=False)


def _scoring(plan: SourcePlan, bags: Bags, n_folds: int) -> float:
    models = [build_null_model(plan.architecture, plan.seed).to(plan.device).eval() for _ in range(n_folds)]
    for model in models:
        model.trained_with = plan.trained_with
    return _rate(lambda: predict(models, bags), n_folds * len(bags.features), plan.device)


def _rate(work: Callable[[], object], n_patches: int, device: str) -> float:
    """Patches a second of `work`, which goes over `n_patches`; its first turn, which warms up, is not counted."""
    work()
    started, turns = time.perf_counter(), 0
    while turns == 0 or time.perf_counter() - started < SECONDS:
        work()
        turns += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return turns * n_patches / (time.perf_counter() - started)


def _random_bags(plan: SourcePlan, size: int, count: int) -> Bags:
    generator = torch.Generator().manual_seed(plan.seed)
    features = torch.randn(count * size, plan.architecture.features, generator=generator)
    offsets = torch.arange(count + 1) * size
    bags = Bags(tuple(map(str, range(count))), features.to(torch_dtype(plan.precision)), offsets)
    return bags.to(plan.device)
