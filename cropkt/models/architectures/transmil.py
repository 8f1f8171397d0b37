"""TransMIL: patches and a class token attend to each other, twice, with a position code between (Shao et al. 2021,
arXiv 2106.00908, algorithms 1 to 3).

Every patch attends to every other, so a bag has to be in memory as a whole (`whole_bag_bytes`).
The patches of a bag, in their order, fill a square (its end with the bag's own first patches), on which three
depthwise convolutions make the position code. So the order of a bag's patches matters here, unlike in other methods.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.errors import ConfigError
from cropkt.models.layers.nystrom import NystromAttention
from cropkt.models.layers.pooling import bags_of
from cropkt.models.mil import Architecture, BagOutput, MILModel, at_least_float32

HEADS = 8


class AttentionLayer(nn.Module):
    """x + attention(norm(x)), with what the first token attends to."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = NystromAttention(width, HEADS, dropout)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, E) to (n, E) and (n,)."""
        change, attention = self.attn(self.norm(tokens))
        return tokens + change, attention


class PositionCode(nn.Module):
    """Depthwise convolutions of 7, 5 and 3 patches over the square, added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.proj1 = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.proj2 = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (1 + side x side, E); the first, the class token, stays as it is."""
        side = math.isqrt(len(tokens) - 1)
        with torch.autocast(tokens.device.type, enabled=False):
            square = tokens[1:].T.unflatten(1, (side, side))
            coded = square + self.proj(square) + self.proj1(square) + self.proj2(square)
            return torch.cat([tokens[:1], coded.flatten(1).T])


class TransMIL(MILModel):
    """The representation is the normalised class token; attention is what it attends to in the second layer."""

    name = "transmil"
    label = "self-attention between patches; 12 to 25 times the work of abmil"

    @classmethod
    def check(cls, architecture: Architecture) -> None:
        """The embedding is shared out among the heads."""
        if architecture.embedding % HEADS:
            raise ConfigError(
                f"architecture.embedding is {architecture.embedding}; transmil needs a multiple of {HEADS}, its heads"
            )

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        width, dropout = architecture.embedding, architecture.dropout
        self._fc1 = nn.Sequential(nn.Linear(architecture.features, width), nn.ReLU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.layer1 = AttentionLayer(width, dropout)
        self.pos_layer = PositionCode(width)
        self.layer2 = AttentionLayer(width, dropout)
        self.norm = nn.LayerNorm(width)
        self._fc2 = nn.Linear(width, architecture.intervals)

    def patch_layer(self) -> tuple[Tensor, Tensor]:
        """The projection; W = E."""
        return self.get_parameter("_fc1.0.weight"), self.get_parameter("_fc1.0.bias")

    def whole_bag_bytes(self, n_patches: int) -> int:
        """Features, and at the peak per token: ten embeddings, and two softmaxes over landmarks in each head."""
        width = self.architecture.embedding
        return 4 * n_patches * (self.architecture.features + 10 * width + 2 * HEADS * max(1, width // 2))

    def from_patch_layer(self, product: Tensor, features: Tensor, offsets: Tensor) -> BagOutput:  # noqa: ARG002
        """Each bag in turn: the number of landmarks a token stands for depends on the bag's size."""
        outputs = [self._bag(bag) for bag in bags_of(at_least_float32(F.relu(product)), offsets)]
        with torch.autocast(product.device.type, enabled=False):
            representation = self.norm(torch.stack([token for token, _ in outputs]))
            return BagOutput(self._fc2(representation), representation, torch.cat([a for _, a in outputs]))

    def _bag(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded patches (N, E) of one bag to its class token (E,) and the attention to each patch (N,)."""
        side = math.isqrt(len(patches) - 1) + 1
        tokens = torch.cat([self.cls_token[0], patches, patches[: side * side - len(patches)]])
        tokens, _ = self.layer1(tokens)
        tokens, attention = self.layer2(self.pos_layer(tokens))
        return tokens[0], attention[1 : len(patches) + 1]


ARCHITECTURE = TransMIL
