"""Mean pooling of embedded patches: every patch weighs the same."""

import torch
from torch import Tensor

from cropkt.models.mil import at_least_float32
from cropkt.models.pooled import PooledMIL
from cropkt.models.pooling import mean_pool


class MeanMIL(PooledMIL):
    """Pooling by the bags' mean."""

    name = "mean"
    label = "mean of patches"

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """As pooling.mean_pool."""
        with torch.autocast(embedding.device.type, enabled=False):
            return mean_pool(at_least_float32(embedding), offsets)


ARCHITECTURE = MeanMIL
