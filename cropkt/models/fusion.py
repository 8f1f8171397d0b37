"""Fusions: other ways to make one representation of several source models' bag vectors; the rivals of ROUPKT.

None of them looks at the slide: they see only the vectors. Each is a file of fusions/. Parameter names are those of the
published code.
Shapes: B bags, n experts (the target's own model first), V width of their vectors, K intervals.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.models.fusions import FUSIONS
from cropkt.models.mil import SurvivalModel

PROJECTIONS = ("mlp", "identity")


@dataclass(frozen=True)
class FusionSettings:
    """What can be chosen of a fusion; the defaults are the published ones.

    fusion: one of FUSIONS. projection: a shared relu(linear) before, or nothing. released_gru: the published GRU, which
    was given experts and batch the wrong way round: only the last expert in the list reaches the output, through a gate
    (`--protocol paper`).
    """

    fusion: str = "mean"
    projection: str = "mlp"
    attention: int = 384
    dropout: float = 0.25
    released_gru: bool = False

    def __post_init__(self) -> None:
        refuse_unknown("fusion.fusion", self.fusion, list(FUSIONS))
        refuse_unknown("fusion.projection", self.projection, PROJECTIONS)
        if self.attention < 1:
            raise ConfigError(f"fusion.attention is {self.attention}; it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"fusion.dropout is {self.dropout}; it must be at least 0 and below 1")


class FusionOutput(NamedTuple):
    """logits (B, K), representation (B, V) and, for the attentions, the experts' weights (B, n)."""

    logits: Tensor
    representation: Tensor
    weights: Tensor | None


class Fusion(SurvivalModel):
    """A fusion of `n_experts` bag vectors of width `vector`. `build_fusion` makes one.

    A fusion is a subclass with a `name`, a `label` for people and `fuse`. It is compared with ROUPKT as the method
    `method`, by default fusion_NAME.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    method: ClassVar[str | None] = None

    def __init__(self, settings: FusionSettings, *, n_experts: int, vector: int, intervals: int) -> None:
        super().__init__()
        self.settings = settings
        width = self.width(n_experts, vector)
        layers: list[nn.Module] = []
        if settings.projection == "mlp":
            layers = [nn.Linear(width, vector), nn.ReLU()]
            width = vector
        self.feat_proj = nn.Sequential(*layers)
        self.build(width)
        self.pred_head = nn.Linear(width, intervals)

    def forward(self, vectors: Tensor) -> FusionOutput:
        """`vectors` (B, n, V)."""
        with torch.autocast(vectors.device.type, enabled=False):
            representation, weights = self.fuse(self.feat_proj(self.select(vectors)))
            return FusionOutput(self.pred_head(representation), representation, weights)

    def width(self, n_experts: int, vector: int) -> int:  # noqa: ARG002
        """The width of each vector that `select` gives."""
        return vector

    def select(self, vectors: Tensor) -> Tensor:
        """From all vectors (B, n, V) to those that are fused, (B, m, W)."""
        return vectors

    def build(self, width: int) -> None:
        """Make the fusion's own parameters, if it has any; called between projection and head."""

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Projected vectors (B, m, W) to the representation (B, W) and, where there are some, weights (B, m)."""
        raise NotImplementedError


class AttentionFusion(Fusion):
    """The sum of the vectors, weighted by the softmax of a score from `attention_net`, (B m, W) to (B m,)."""

    attention_net: nn.Module

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The weighted sum and its weights."""
        bags, experts, width = embedding.shape
        score = self.attention_net(embedding.reshape(bags * experts, width))
        weights = score.reshape(bags, experts).softmax(dim=-1)
        return (weights.unsqueeze(-1) * embedding).sum(dim=1), weights


def build_fusion(settings: FusionSettings, *, n_experts: int, vector: int, intervals: int) -> Fusion:
    """A fusion with random weights, drawn from torch's current random state."""
    return FUSIONS[settings.fusion](settings, n_experts=n_experts, vector=vector, intervals=intervals)
