"""Run several models over the bags of a cohort in one pass, each patch read once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cropkt.data.bags import Bags
from cropkt.models.mil import MILModel, forward_together
from cropkt.models.precision import matmul_precision
from cropkt.survival.risk import hazard, incidence_survival, risk, survival

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


def predict(
    models: Sequence[MILModel], bags: Bags, *, loss: str = "discrete_nll", precision: str = "float32"
) -> Predictions:
    """Predictions of `models` (one architecture, on the bags' device) for every bag.

    `loss` is the one the models were trained with; it decides what their logits mean.
    """
    device = bags.features.device.type
    logits, representation = [], []
    with torch.inference_mode(), matmul_precision(precision, device):
        for tile in tiles(bags, PATCHES_PER_TILE.get(device, 4096)):
            part = bags.take(tile)
            outputs = forward_together(models, part.features, part.offsets)
            logits.append(torch.stack([output.logits for output in outputs]).float().cpu())
            representation.append(torch.stack([output.representation for output in outputs]).float().cpu())
    hazards, danger = hazard_and_risk(torch.cat(logits, dim=1), loss)
    return Predictions(hazards.numpy(), danger.numpy(), torch.cat(representation, dim=1).numpy())


def hazard_and_risk(logits: torch.Tensor, loss: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Hazard (..., K) and risk (...,) that logits (..., K) of a model trained with `loss` stand for.

    A Cox model has no hazards of its own: they are NaN and its risk is the first logit.
    """
    if loss == "cox_nll":
        return torch.full_like(logits, torch.nan), logits[..., 0]
    if loss == "discrete_nll":
        return hazard(logits), risk(survival(hazard(logits)))
    curve = incidence_survival(logits)
    before = torch.cat([torch.ones_like(curve[..., :1]), curve[..., :-1]], dim=-1)
    return 1 - curve / before.clamp_min(torch.finfo(curve.dtype).tiny), risk(curve)


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
