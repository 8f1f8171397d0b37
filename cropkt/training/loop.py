"""The training loop: all folds of a cohort in step over the same resident bags.

Every fold walks the same shuffled order of the cohort's bags and skips those it may not see. So the folds touch the
same bags at about the same time, and a cohort that is memory-mapped rather than resident is read from the disk about
once an epoch, not once an epoch and fold. Of such a cohort a process holds the piece it works on. What a fold learns
does not depend on which other folds are trained beside it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from cropkt.data.bags import Bags
from cropkt.models.mil import SurvivalModel, TrainedWith
from cropkt.models.precision import matmul_precision
from cropkt.seeds import generator, named_seed
from cropkt.survival.losses import LOSSES, SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from cropkt.training.pieces import PATCHES_PER_PIECE, logits_of, pieces, sample_patches, to_device


class TrainingError(RuntimeError):
    """Training went wrong in a way that no input check foresaw; the message names cohort, fold and epoch."""


Network = TypeVar("Network", bound=SurvivalModel)


@dataclass
class FoldTraining(Generic[Network]):
    """One fold's model and the bags (indices) that may train it; `rates` and `losses` grow by one an update.

    `forward(batch)`, for models that are no plain MIL models, gives the logits (len(batch), K) of the bags `batch`
    (indices), and what is added to their survival loss, a scalar or None. `losses` are survival losses, without that.
    """

    fold: int
    model: Network
    train: np.ndarray
    forward: Callable[[np.ndarray], tuple[Tensor, Tensor | None]] | None = None
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def shuffled(n_bags: int, epoch: int, *, seed: int, stream: str) -> np.ndarray:
    """The order (indices of `n_bags` bags) in which `epoch` walks a cohort; `stream` names the cohort."""
    return generator(seed, "order of bags", stream, epoch).permutation(n_bags)


def train_folds(
    trainings: Sequence[FoldTraining[Any]],
    bags: Bags,
    labels: SurvivalTargets,
    config: TrainingConfig,
    *,
    seed: int,
    stream: str,
    precision: str = "float32",
    order: Callable[[int], np.ndarray] | None = None,
    report: Callable[[int], None] | None = None,
) -> None:
    """Train every fold's model in place, on the bags its `train` names and no others.

    `stream` (the cohort's code) names the random streams; `order` gives the order of bags in an epoch (default:
    `shuffled`); `report(epoch)` is called after each epoch. Labels and models share one device;
    bags are there too, or on the host, and each piece of a batch is sent when it is its turn.
    Raises ConfigError when a fold's training bags do not fill one update, TrainingError when a loss is not finite.
    """
    for epoch in train_epochs(
        trainings, bags, labels, config, seed=seed, stream=stream, precision=precision, order=order
    ):
        if report is not None:
            report(epoch)


def train_epochs(
    trainings: Sequence[FoldTraining[Any]],
    bags: Bags,
    labels: SurvivalTargets,
    config: TrainingConfig,
    *,
    seed: int,
    stream: str,
    precision: str = "float32",
    order: Callable[[int], np.ndarray] | None = None,
) -> Iterator[int]:
    """`train_folds` an epoch at a time: yields the epoch after each, with the models in eval mode."""
    order = order or (lambda epoch: shuffled(len(bags), epoch, seed=seed, stream=stream))
    device = next(trainings[0].model.parameters()).device
    lesson = _Lesson(bags, labels, config, seed, stream, precision, device, bags.offsets.cpu().numpy())
    optimisers = [build_optimiser(fold.model, config) for fold in trainings]
    updates = [config.updates_per_epoch(len(fold.train)) for fold in trainings]
    for epoch in range(config.epochs):
        walk = order(epoch)
        chosen = [walk[np.isin(walk, fold.train)] for fold in trainings]
        losses: list[list[Tensor]] = [[] for _ in trainings]
        for fold in trainings:
            fold.model.train()
            fold.model.trained_with = TrainedWith(config.loss, precision)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for update in range(max(updates)):
                for fold, optimiser, per_epoch, indices, found in zip(
                    trainings, optimisers, updates, chosen, losses, strict=True
                ):
                    if update >= per_epoch:
                        continue
                    start = update * config.bags_per_update
                    batch = indices[start : start + config.bags_per_update]
                    rate = learning_rate(epoch * per_epoch + update, per_epoch, config)
                    set_learning_rate(optimiser, rate)
                    optimiser.zero_grad()
                    found.append(_backward(lesson, fold, batch, epoch, update))
                    optimiser.step()
                    fold.rates.append(rate)
        for fold, found in zip(trainings, losses, strict=True):
            fold.model.eval()
            fold.losses += _checked(found, fold.fold, stream, epoch)
        yield epoch


@dataclass
class _Lesson:
    """What all folds of a cohort share; `ends` (B + 1,) are the bags' offsets on the host, `device` is the models'.

    `recompute`: has memory run out, so that activations are computed again instead of kept? Numbers stay the same.
    """

    bags: Bags
    labels: SurvivalTargets
    config: TrainingConfig
    seed: int
    stream: str
    precision: str
    device: torch.device
    ends: np.ndarray
    recompute: bool = False


def _backward(lesson: _Lesson, training: FoldTraining[Any], batch: np.ndarray, epoch: int, update: int) -> Tensor:
    """Put the gradients of `batch` (indices) into the fold's model; its mean survival loss, left on the device."""
    if not lesson.recompute:
        try:
            return _attempt(lesson, training, batch, epoch, update)
        except torch.OutOfMemoryError:
            lesson.recompute = True
            training.model.zero_grad()
    # Not in the handler: the error holds on to the memory of the attempt.
    return _attempt(lesson, training, batch, epoch, update)


def _attempt(lesson: _Lesson, training: FoldTraining[Any], batch: np.ndarray, epoch: int, update: int) -> Tensor:
    # Dropout is drawn from a stream of its own for each update, so that a fold trained alone and a fold trained beside
    # four others get the same numbers.
    torch.manual_seed(named_seed(lesson.seed, "dropout", lesson.stream, training.fold, epoch, update))
    with matmul_precision(lesson.precision, lesson.device.type):
        if training.forward is None:
            parts = _parts(lesson, batch, epoch)
            logits = logits_of(training.model, parts, recompute=lesson.recompute, before_each=lesson.bags.release)
            penalty = None
        else:
            logits, penalty = training.forward(batch)
    loss = survival_loss(logits, lesson.labels, batch, lesson.config)
    (loss if penalty is None else loss + penalty).backward()
    return loss.detach()


def _parts(lesson: _Lesson, batch: np.ndarray, epoch: int) -> Iterator[Bags]:
    """The bags of `batch` in pieces; where bags are sampled, every fold sees the same patches of a bag in an epoch."""
    bags, most, lengths = lesson.bags, lesson.config.patches_per_bag, np.diff(lesson.ends)
    size = PATCHES_PER_PIECE[lesson.device.type]
    if not most:
        yield from (bags.take(piece).sent_to(lesson.device) for piece in pieces(batch, lengths, size))
        return
    draw = partial(generator, lesson.seed, "patches", lesson.stream, epoch)
    for piece in pieces(batch, lengths.clip(max=most), size):
        yield sample_patches(bags, piece, lesson.ends, most, draw).sent_to(lesson.device)


def _checked(losses: Sequence[Tensor], fold: int, stream: str, epoch: int) -> list[float]:
    """The losses of an epoch on the host, read once: a GPU is not kept waiting within it."""
    found: list[float] = torch.stack(list(losses)).tolist()
    for value in found:
        if not math.isfinite(value):
            raise TrainingError(
                f"{stream}, fold {fold}, epoch {epoch}: the loss is {value}; lower training.learning_rate, or look for "
                "extreme feature values"
            )
    return found


def survival_loss(logits: Tensor, labels: SurvivalTargets, batch: np.ndarray, config: TrainingConfig) -> Tensor:
    """The mean loss of the bags `batch` (indices) with `logits` (len(batch), K)."""
    of_batch = labels.take(to_device(batch, logits.device))
    return LOSSES[config.loss].value(logits, of_batch, config.censored_weight, config.clamp)
