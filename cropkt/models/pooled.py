"""Methods that embed patches, pool them and put a linear head on the pooled embedding, and their attentions.

A projection embeds each patch, a pooling makes one representation per bag, a linear head gives the logits of the
discrete hazards (Ilse et al. 2018, arXiv 1802.04712).
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.models.layers.dropout import kept_like
from cropkt.models.layers.pooling import attention_pool
from cropkt.models.layers.running import RunningSoftmax
from cropkt.models.mil import Accumulator, Architecture, BagOutput, MILModel, at_least_float32


class GatedAttention(nn.Module):
    """score = w . (tanh(A h) * sigmoid(B h)) (Ilse et al. 2018, eq. 9), both branches with dropout."""

    def __init__(self, embedding: int, attention: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_a = nn.Sequential(nn.Linear(embedding, attention), nn.Tanh())
        self.attention_b = nn.Sequential(nn.Linear(embedding, attention), nn.Sigmoid())
        self.attention_c = nn.Linear(attention, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(P, E) to (P,)."""
        product = self.attention_a(embedding) * self.attention_b(embedding)
        if not (self.training and self.dropout):
            return self.attention_c(product).squeeze(-1)
        # A product is kept where both factors are, so one mask with the square of their keep probability has the
        # distribution of two. The kept ones' scale is put on the vector w, not on the matrix.
        keep = (1 - self.dropout) ** 2
        product = product.mul_(kept_like(product.detach(), keep))
        return F.linear(product, self.attention_c.weight / keep, self.attention_c.bias).squeeze(-1)


class Attention(nn.Module):
    """score = w . tanh(A h) (Ilse et al. 2018, eq. 8)."""

    def __init__(self, embedding: int, attention: int, dropout: float) -> None:
        super().__init__()
        self.module = nn.Sequential(
            nn.Linear(embedding, attention), nn.Tanh(), nn.Dropout(dropout), nn.Linear(attention, 1)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """(P, E) to (P,)."""
        return self.module(embedding).squeeze(-1)


class PooledMIL(MILModel):
    """Projection, pooling, head. The representation is the pooled embedding; each method has its own `pool_bags`."""

    has_linear_head = True

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        width, dropout = architecture.embedding, architecture.dropout
        # In place, on the patch layer's product, which nobody else reads.
        layers: list[nn.Module] = [nn.Linear(architecture.features, width), nn.ReLU(inplace=True)]
        for _ in range(architecture.projection_layers - 1):
            layers += [nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()]
        self.feat_proj = nn.Sequential(*layers)
        self.build_pooling(architecture)
        self.pred_head = nn.Linear(width, architecture.intervals)

    def build_pooling(self, architecture: Architecture) -> None:
        """Make the pooling's parameters, if it has any; called between projection and head."""

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded patches (P, E) to representation (B, E) and attention (P,)."""
        raise NotImplementedError

    def patch_layer(self) -> tuple[Tensor, Tensor]:
        """The projection's first layer; W = E."""
        return self.get_parameter("feat_proj.0.weight"), self.get_parameter("feat_proj.0.bias")

    def from_patch_layer(self, product: Tensor, features: Tensor, offsets: Tensor) -> BagOutput:  # noqa: ARG002
        """The rest of the projection, pooling and head."""
        representation, attention = self.pool(product, offsets)
        with torch.autocast(product.device.type, enabled=False):
            return BagOutput(self.pred_head(representation), representation, attention)

    def pool(self, product: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Representation (B, E) and attention (P,) of bags, from the output (P, E) of `patch_layer`."""
        return self.pool_bags(self.feat_proj[1:](product), offsets)


class PooledParts(Accumulator):
    """A bag in parts for a `PooledMIL`: a subclass keeps what its pooling needs of the embedded patches."""

    def __init__(self, model: PooledMIL) -> None:
        self._model = model

    def add(self, product: Tensor, features: Tensor) -> None:  # noqa: ARG002
        """The rest of the projection, then `add_embedded`."""
        self.add_embedded(self._model.feat_proj[1:](product))

    def finish(self) -> tuple[Tensor, Tensor]:
        """The head's logits (K,) and the pooled embedding (E,)."""
        with torch.autocast(self._model.pred_head.weight.device.type, enabled=False):
            pooled = self.pooled()
            return self._model.pred_head(pooled), pooled

    @abstractmethod
    def add_embedded(self, embedding: Tensor) -> None:
        """Embedded patches (P, E) of a part."""

    @abstractmethod
    def pooled(self) -> Tensor:
        """(E,): the pooled embedding, at least float32."""


class _AttentionParts(PooledParts):
    """The softmax mean of embedded patches by their attention scores."""

    def __init__(self, model: "AttentionMIL") -> None:
        super().__init__(model)
        self._attention_net = model.attention_net

    def begin(self, walk: int) -> None:  # noqa: ARG002
        self._mean = RunningSoftmax()

    def add_embedded(self, embedding: Tensor) -> None:
        score = self._attention_net(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            self._mean.add(at_least_float32(score)[:, None], at_least_float32(embedding))

    def pooled(self) -> Tensor:
        return self._mean.mean()[0]


class AttentionMIL(PooledMIL):
    """Pooling by the softmax of a score per patch, from `attention_net`, (P, E) to (P,)."""

    attention_net: nn.Module

    def accumulator(self) -> Accumulator:
        """A running softmax."""
        return _AttentionParts(self)

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """The bags' means, weighted by attention."""
        score = self.attention_net(embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            return attention_pool(at_least_float32(score), embedding, offsets)
