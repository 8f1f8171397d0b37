"""Losses of survival models, as published: one file each, with the record of that name. See docs/extending.md.

Shapes: B patients, K logits each. Every factor of a likelihood is clamped from below before its logarithm, so a clamped
factor has gradient 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cropkt.registry import Table

if TYPE_CHECKING:
    from torch import Tensor

INTERVALS = 32


@dataclass(frozen=True)
class SurvivalTargets:
    """The labels of B bags, in bag order: time (B,) in days, event (B,) 0/1, interval (B,) int64 of the time."""

    time: "Tensor"
    event: "Tensor"
    interval: "Tensor"

    def take(self, index: "Tensor") -> "SurvivalTargets":
        """The labels of the bags `index` (B',), int64."""
        return SurvivalTargets(self.time[index], self.event[index], self.interval[index])


@dataclass(frozen=True)
class Loss:
    """A loss, and the meaning of the logits of a model that was trained with it.

    value: from logits (B, K), the labels of these bags, alpha (a censored patient's loss counts 1 - alpha) and eps
    (lower clamp of probabilities) to the mean loss, a scalar. hazard_and_risk: from logits (..., K) to hazard (..., K)
    of the yearly intervals, NaN where there is none, and risk (...,), a higher one an earlier event. intervals: K.
    """

    name: str
    label: str
    value: "Callable[[Tensor, SurvivalTargets, float, float], Tensor]"
    hazard_and_risk: "Callable[[Tensor], tuple[Tensor, Tensor]]"
    intervals: int = INTERVALS


LOSSES: Table[Loss] = Table("loss", "cropkt.survival.losses")
