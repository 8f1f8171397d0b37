"""Mean pooling of embedded patches: every patch weighs the same."""

import torch
from torch import Tensor

from cropkt.models.layers.pooling import mean_pool
from cropkt.models.mil import Accumulator, at_least_float32
from cropkt.models.pooled import PooledMIL, PooledParts


class _MeanParts(PooledParts):
    """Sum and number of embedded patches."""

    def begin(self, walk: int) -> None:  # noqa: ARG002
        self._total: Tensor | float = 0.0
        self._patches = 0

    def add_embedded(self, embedding: Tensor) -> None:
        self._total = self._total + at_least_float32(embedding).sum(dim=0)
        self._patches += len(embedding)

    def pooled(self) -> Tensor:
        return torch.as_tensor(self._total / self._patches)


class MeanMIL(PooledMIL):
    """Pooling by the bags' mean."""

    name = "mean"
    label = "mean of patches"

    def accumulator(self) -> Accumulator:
        """Sum and number."""
        return _MeanParts(self)

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """As pooling.mean_pool."""
        with torch.autocast(embedding.device.type, enabled=False):
            return mean_pool(at_least_float32(embedding), offsets)


ARCHITECTURE = MeanMIL
