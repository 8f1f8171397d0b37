"""Training and prediction of models that combine source models: routers, fusions, and a source tuned on a target.

They share the loop of the source models (loop.py). Beside the target's bags they are given expert vectors.
Shapes: B bags of the target, n experts, V width of their vectors, K intervals, D features a patch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cropkt.data.bags import Bags
from cropkt.data.streams.tiles import runs_of_bags
from cropkt.models.fusion import Fusion, FusionSettings, build_fusion
from cropkt.models.mil import Architecture, MILModel, TrainedWith, build_model
from cropkt.models.precision import matmul_precision
from cropkt.models.predict import PATCHES_PER_TILE
from cropkt.models.router import Router, RouterSettings, routing_penalty
from cropkt.seeds import named_seed
from cropkt.survival.losses import LOSSES
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining

Combination = Router | Fusion | MILModel


@dataclass(frozen=True)
class Recipe:
    """A model to train on a target: what it is made of, and how it is trained."""

    settings: RouterSettings | FusionSettings | Architecture
    training: TrainingConfig


@dataclass(frozen=True)
class Combined:
    """What a model says of B' bags, float32: logits and hazard (B', K), risk (B',); a router also gates, probabilities
    (B', n).

    A higher risk means an earlier event.
    """

    logits: np.ndarray
    hazard: np.ndarray
    risk: np.ndarray
    gates: np.ndarray | None = None
    probabilities: np.ndarray | None = None


def build_combination(
    recipe: Recipe, *, width: int, vectors: Tensor, intervals: int, seed: int, precision: str
) -> Combination:
    """A model with random weights that depend on `seed` and the recipe's kind alone, so all folds start alike.

    `vectors` (B, n, V) are looked at for their shape only. The caller's random state is untouched.
    """
    shape = {"n_experts": vectors.shape[1], "vector": vectors.shape[2], "intervals": intervals}
    settings = recipe.settings
    model: Combination
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "combination", type(settings).__name__))
        if isinstance(settings, RouterSettings):
            model = Router(settings, width=width, **shape)
        elif isinstance(settings, FusionSettings):
            model = build_fusion(settings, **shape)
        else:
            model = build_model(settings)
    model.trained_with = TrainedWith(recipe.training.loss, precision)
    return model


def fold_training(
    fold: int, model: Combination, bags: Bags, vectors: Tensor, train: np.ndarray
) -> FoldTraining[Combination]:
    """The training of `model` on the bags `train` (indices) and their `vectors` (B, n, V)."""
    return FoldTraining(fold, model, train, _forward(model, bags, vectors))


def _forward(
    model: Combination, bags: Bags, vectors: Tensor
) -> Callable[[np.ndarray], tuple[Tensor, Tensor | None]] | None:
    if isinstance(model, Router):

        def route(batch: np.ndarray) -> tuple[Tensor, Tensor | None]:
            part = bags.take(batch)
            bags.release()
            output = model.route(part.features, part.offsets, vectors[batch])
            return output.logits, routing_penalty(output, model.settings)

        return route
    if isinstance(model, Fusion):

        def fuse(batch: np.ndarray) -> tuple[Tensor, Tensor | None]:
            return model(vectors[batch]).logits.float(), None

        return fuse
    return None


def predict_combination(model: Combination, bags: Bags, vectors: Tensor, chosen: np.ndarray) -> Combined:
    """Predictions of `model`, in eval mode, for the bags `chosen` (indices) with their `vectors` (B, n, V)."""
    reading = model.reading()
    device = bags.features.device.type
    logits, gates, probabilities = [], [], []
    with torch.inference_mode(), matmul_precision(reading.precision, device):
        if isinstance(model, Fusion):
            logits.append(model(vectors[chosen]).logits)
        else:
            lengths = bags.lengths.cpu().numpy()[chosen]
            for run in runs_of_bags(lengths, PATCHES_PER_TILE.get(device, PATCHES_PER_TILE["cpu"])):
                tile = chosen[run.start : run.stop]
                part = bags.take(tile)
                if isinstance(model, Router):
                    output = model.route(part.features, part.offsets, vectors[tile])
                    gates.append(output.gates)
                    probabilities.append(output.probabilities)
                    logits.append(output.logits)
                else:
                    logits.append(model(part.features, part.offsets).logits)
                bags.release()
    joined = torch.cat(logits).float().cpu()
    hazard, risk = LOSSES[reading.loss].hazard_and_risk(joined)
    return Combined(joined.numpy(), hazard.numpy(), risk.numpy(), _joined(gates), _joined(probabilities))


def _joined(parts: list[Tensor]) -> np.ndarray | None:
    return torch.cat(parts).float().cpu().numpy() if parts else None
