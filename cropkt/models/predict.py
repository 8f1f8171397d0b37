"""Run several models over the bags of a cohort in one pass, each patch read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cropkt.data.bags import Bags
from cropkt.models.mil import MILModel, TrainedWith, forward_together
from cropkt.models.precision import matmul_precision
from cropkt.survival.losses import LOSSES

BAGS_PER_TILE = 32
PATCHES_PER_TILE = {"cpu": 4096, "cuda": 65536}


@dataclass(frozen=True)
class Predictions:
    """What M models say of B bags, float32: hazard (M, B, K), risk (M, B), representation (M, B, E).

    `risk` grows with the danger: a higher risk means an earlier event.
    """

    hazard: np.ndarray
    risk: np.ndarray
    representation: np.ndarray


def predict(models: Sequence[MILModel], bags: Bags) -> Predictions:
    """Predictions of `models` (one architecture, trained alike, on the bags' device) for every bag."""
    reading = _common_reading(models)
    device = bags.features.device.type
    logits, representation = [], []
    with torch.inference_mode(), matmul_precision(reading.precision, device):
        for tile in tiles(bags, PATCHES_PER_TILE.get(device, 4096)):
            part = bags.take(tile)
            outputs = forward_together(models, part.features, part.offsets)
            logits.append(torch.stack([output.logits for output in outputs]).float().cpu())
            representation.append(torch.stack([output.representation for output in outputs]).float().cpu())
    hazards, danger = LOSSES[reading.loss].hazard_and_risk(torch.cat(logits, dim=1))
    return Predictions(hazards.numpy(), danger.numpy(), torch.cat(representation, dim=1).numpy())


def _common_reading(models: Sequence[MILModel]) -> TrainedWith:
    readings = {model.reading() for model in models}
    if len(readings) > 1:
        raise ValueError(f"models that were trained differently cannot be asked together: {readings}")
    return readings.pop()


def tiles(bags: Bags, patches: int) -> Iterator[range]:
    """Runs of whole bags with about `patches` patches each; a longer bag is a tile of its own."""
    lengths = np.diff(bags.offsets.cpu().numpy())
    start, held = 0, 0
    for bag, length in enumerate(lengths):
        if bag > start and (held + length > patches or bag - start >= BAGS_PER_TILE):
            yield range(start, bag)
            start, held = bag, 0
        held += length
    if len(lengths):
        yield range(start, len(lengths))
