"""Max pooling of embedded patches: each feature's largest value in the bag."""

import torch
from torch import Tensor

from cropkt.models.layers.pooling import max_pool
from cropkt.models.layers.running import RunningMaximum
from cropkt.models.mil import Accumulator, at_least_float32
from cropkt.models.pooled import PooledMIL, PooledParts


class _MaxParts(PooledParts):
    """The largest value of each feature so far."""

    def begin(self, walk: int) -> None:  # noqa: ARG002
        self._largest = RunningMaximum()

    def add_embedded(self, embedding: Tensor) -> None:
        self._largest.add(at_least_float32(embedding))

    def pooled(self) -> Tensor:
        assert self._largest.values is not None  # a bag has patches
        return self._largest.values


class MaxMIL(PooledMIL):
    """Pooling by the bags' maximum."""

    name = "max"
    label = "maximum of patches"

    def accumulator(self) -> Accumulator:
        """A running maximum."""
        return _MaxParts(self)

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """As pooling.max_pool."""
        with torch.autocast(embedding.device.type, enabled=False):
            return max_pool(at_least_float32(embedding), offsets)


ARCHITECTURE = MaxMIL
