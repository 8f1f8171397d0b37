"""Other ways to make one representation of several source models' bag vectors; what ROUPKT is compared with.

None of them looks at the slide: they see only the vectors. Parameter names are those of the published code.
Shapes: B bags, n experts (the target's own model first), V width of their vectors, K intervals.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cropkt.errors import ConfigError
from cropkt.models.abmil import Attention, GatedAttention

FUSIONS = ("mean", "attention", "gated_attention", "gru", "transformer", "own", "all")
PROJECTIONS = ("mlp", "identity")
HEADS = 4


@dataclass(frozen=True)
class FusionSettings:
    """What can be chosen of a fusion; the defaults are the published ones.

    fusion: "own" is the target's own vector alone, "all" are all vectors side by side. projection: a shared
    relu(linear) before, or nothing. released_gru: the published GRU, which was given experts and batch the wrong way
    round: only the last expert in the list reaches the output, through a gate (`--protocol paper`).
    """

    fusion: str = "mean"
    projection: str = "mlp"
    attention: int = 384
    dropout: float = 0.25
    released_gru: bool = False

    def __post_init__(self) -> None:
        for field, known in (("fusion", FUSIONS), ("projection", PROJECTIONS)):
            if getattr(self, field) not in known:
                raise ConfigError(f"fusion.{field} {getattr(self, field)!r} is unknown; choose of {', '.join(known)}")
        if self.attention < 1:
            raise ConfigError(f"fusion.attention is {self.attention}; it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"fusion.dropout is {self.dropout}; it must be at least 0 and below 1")


class FusionOutput(NamedTuple):
    """logits (B, K), representation (B, V) and, for the attentions, the experts' weights (B, n)."""

    logits: Tensor
    representation: Tensor
    weights: Tensor | None


class Fusion(nn.Module):
    """A fusion of `experts` bag vectors of width `vector`."""

    def __init__(self, settings: FusionSettings, *, experts: int, vector: int, intervals: int) -> None:
        super().__init__()
        self.settings = settings
        width = vector * experts if settings.fusion == "all" else vector
        layers: list[nn.Module] = []
        if settings.projection == "mlp":
            layers = [nn.Linear(width, vector), nn.ReLU()]
        self.feat_proj = nn.Sequential(*layers)
        if settings.fusion == "attention":
            self.attention_net: nn.Module = Attention(vector, settings.attention, settings.dropout)
        elif settings.fusion == "gated_attention":
            self.attention_net = GatedAttention(vector, settings.attention, settings.dropout)
        elif settings.fusion == "gru":
            self.gru = ReleasedGRU(vector) if settings.released_gru else nn.GRU(vector, vector, batch_first=True)
        elif settings.fusion == "transformer":
            layer = nn.TransformerEncoderLayer(
                vector, HEADS, dim_feedforward=vector, dropout=settings.dropout, batch_first=True
            )
            self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        wide = settings.fusion == "all" and settings.projection == "identity"
        self.pred_head = nn.Linear(width if wide else vector, intervals)

    def forward(self, vectors: Tensor) -> FusionOutput:
        """`vectors` (B, n, V)."""
        with torch.autocast(vectors.device.type, enabled=False):
            representation, weights = self._fuse(vectors)
            return FusionOutput(self.pred_head(representation), representation, weights)

    def _fuse(self, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        kind = self.settings.fusion
        if kind == "own":
            vectors = vectors[:, :1]
        elif kind == "all":
            vectors = vectors.flatten(1).unsqueeze(1)
        embedding = self.feat_proj(vectors)
        if kind in ("attention", "gated_attention"):
            bags, experts, width = embedding.shape
            score = self.attention_net(embedding.reshape(bags * experts, width))
            weights = score.reshape(bags, experts).softmax(dim=-1)
            return (weights.unsqueeze(-1) * embedding).sum(dim=1), weights
        if kind == "gru":
            return self.gru(embedding)[1][-1], None
        if kind == "transformer":
            return self.transformer(embedding).mean(dim=1), None
        return embedding.mean(dim=1), None


class ReleasedGRU(nn.Module):
    """What is left of the published GRU when every sequence has length one: z * (n's linear part) of the last expert.

    The hidden state starts at 0, its candidate has no tanh and no reset gate.
    """

    def __init__(self, vector: int) -> None:
        super().__init__()
        cell = nn.Module()
        reach = vector**-0.5
        for name, shape in (("weight_ih", (vector, 3 * vector)), ("weight_hh", (vector, 3 * vector))):
            cell.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-reach, reach)))
        for name in ("bias_ih", "bias_hh"):
            cell.register_parameter(name, nn.Parameter(torch.zeros(3 * vector)))
        self.net = nn.ModuleList([cell])

    def forward(self, embedding: Tensor) -> tuple[None, Tensor]:
        """(B, n, V); the second of what is returned is the last state, (1, B, V), as torch's GRU does."""
        cell = self.net[0]
        gates = embedding[:, -1] @ cell.get_parameter("weight_ih")
        _, update, candidate = (gates + cell.get_parameter("bias_ih") + cell.get_parameter("bias_hh")).chunk(3, dim=-1)
        return None, (update.sigmoid() * candidate).unsqueeze(0)
