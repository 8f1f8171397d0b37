"""Run many models over the bags of a cohort in one pass, each patch read once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cropkt.data.bags import Bags, PatientBags
from cropkt.data.streams.tiles import BagChangedError, LongBag
from cropkt.models.mil import Accumulator, MILModel, TrainedWith, forward_together
from cropkt.models.precision import matmul_precision
from cropkt.survival.losses import LOSSES

PATCHES_PER_TILE = {"cpu": 4096, "cuda": 65536}
LONGEST = {"cpu": 16384, "cuda": 131072}
"""A bag of more patches is read in parts, so that a model's activations never grow beyond those of so many patches."""


@dataclass(frozen=True)
class Predictions:
    """What M models say of B bags, float32: hazard (M, B, K), risk (M, B), representation (M, B, E).

    `risk` grows with the danger: a higher risk means an earlier event.
    """

    hazard: np.ndarray
    risk: np.ndarray
    representation: np.ndarray


def predict(models: Sequence[MILModel], bags: PatientBags) -> Predictions:
    """Predictions of `models` (one architecture, trained alike, on the bags' device) for every bag."""
    return predict_groups([models], bags)[0]


def predict_groups(groups: Sequence[Sequence[MILModel]], bags: PatientBags) -> list[Predictions]:
    """Predictions of each of `groups` of models for every bag, in one pass over the bags' tiles.

    Models of a group are alike as in `predict`, and share one matrix product. Groups share architecture and precision,
    and may differ in their loss. A long bag is read in parts where the architecture can put it together again; one that
    cannot raises StudyError where a bag does not fit.
    """
    models = [model for group in groups for model in group]
    readings, device = [_common_reading(group) for group in groups], bags.device.type
    precision = _common_precision(readings)
    in_parts = models[0].accumulator() is not None
    if not in_parts:
        bags.require_room(models[0].whole_bag_bytes(bags.longest), f"{models[0].name} on {bags.longest:,} patches")
    longest = LONGEST.get(device, LONGEST["cpu"]) if in_parts else None
    outputs: list[list[_Output]] = [[] for _ in groups]
    with torch.inference_mode(), matmul_precision(precision, device):
        for tile in bags.tiles(PATCHES_PER_TILE.get(device, PATCHES_PER_TILE["cpu"]), longest):
            found = _of_whole(groups, tile) if isinstance(tile, Bags) else _of_long(groups, tile)
            for of_group, output in zip(outputs, found, strict=False):
                of_group.append(output)
    return [_read(of_group, reading) for of_group, reading in zip(outputs, readings, strict=True)]


@dataclass(frozen=True)
class _Output:
    """Of M models on some bags, on the CPU: logits (M, B', K) and representation (M, B', E), float32."""

    logits: Tensor
    representation: Tensor


def _output(logits: list[Tensor], representation: list[Tensor]) -> _Output:
    return _Output(torch.stack(logits).float().cpu(), torch.stack(representation).float().cpu())


def _of_whole(groups: Sequence[Sequence[MILModel]], bags: Bags) -> list[_Output]:
    found = []
    for group in groups:
        outputs = forward_together(group, bags.features, bags.offsets)
        found.append(_output([output.logits for output in outputs], [output.representation for output in outputs]))
    return found


def _of_long(groups: Sequence[Sequence[MILModel]], bag: LongBag) -> list[_Output]:
    """The outputs for one long bag; none when no slide of it is good."""
    while True:
        try:
            return _of_parts(groups, bag)
        except BagChangedError:
            continue


def _of_parts(groups: Sequence[Sequence[MILModel]], bag: LongBag) -> list[_Output]:
    held = [[_accumulator(model) for model in group] for group in groups]
    layers = [_wide_layer(group) for group in groups]
    patches = 0
    for walk in range(held[0][0].passes):
        patches = 0
        for accumulator in (one for of_group in held for one in of_group):
            accumulator.begin(walk)
        for part in bag.parts():
            patches += len(part)
            for of_group, (weight, bias, widths) in zip(held, layers, strict=True):
                wide = F.linear(part, weight, bias)
                for accumulator, product in zip(of_group, wide.split(widths, dim=1), strict=True):
                    accumulator.add(product, part)
    if not patches:
        return []
    ends = [[accumulator.finish() for accumulator in of_group] for of_group in held]
    return [_output([logits[None] for logits, _ in end], [vector[None] for _, vector in end]) for end in ends]


def _accumulator(model: MILModel) -> Accumulator:
    accumulator = model.accumulator()
    assert accumulator is not None  # asked before the bags were cut
    return accumulator


def _wide_layer(models: Sequence[MILModel]) -> tuple[Tensor, Tensor, list[int]]:
    """The patch layers of `models` side by side, and the width of each."""
    weights, biases = zip(*(model.patch_layer() for model in models), strict=True)
    return torch.cat(weights), torch.cat(biases), [len(bias) for bias in biases]


def _read(outputs: Sequence[_Output], reading: TrainedWith) -> Predictions:
    logits = torch.cat([output.logits for output in outputs], dim=1)
    hazards, danger = LOSSES[reading.loss].hazard_and_risk(logits)
    vectors = torch.cat([output.representation for output in outputs], dim=1)
    return Predictions(hazards.numpy(), danger.numpy(), vectors.numpy())


def _common_reading(models: Sequence[MILModel]) -> TrainedWith:
    readings = {model.reading() for model in models}
    if len(readings) > 1:
        raise ValueError(f"models that were trained differently cannot be asked together: {readings}")
    return readings.pop()


def _common_precision(readings: Sequence[TrainedWith]) -> str:
    precisions = {reading.precision for reading in readings}
    if len(precisions) > 1:
        raise ValueError(f"models of different precisions cannot be asked together: {sorted(precisions)}")
    return precisions.pop()
