"""Max pooling of embedded patches: each feature's largest value in the bag."""

import torch
from torch import Tensor

from cropkt.models.mil import at_least_float32
from cropkt.models.pooled import PooledMIL
from cropkt.models.pooling import max_pool


class MaxMIL(PooledMIL):
    """Pooling by the bags' maximum."""

    name = "max"
    label = "maximum of patches"

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """As pooling.max_pool."""
        with torch.autocast(embedding.device.type, enabled=False):
            return max_pool(at_least_float32(embedding), offsets)


ARCHITECTURE = MaxMIL
