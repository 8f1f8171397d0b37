"""ROUPKT: a router that looks at a target's slide and weighs what frozen source models make of it (CROPKT, 3.3).

The router is an ABMIL over the slide's patches. A linear layer and a softmax turn its representation into one
probability an expert; the top k of them, as they are, are the gates. An expert is a source model's bag vector passed
through a small network of its own. The gated sum of the experts enters a linear head.
Shapes: B bags, n experts, V width of the experts' vectors, E embedding of the router, K intervals.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.models.architectures.abmil import ABMIL
from cropkt.models.mil import Architecture

EXPERT_NETWORKS = ("mlp", "identity")
BALANCES = ("update", "bag")


@dataclass(frozen=True)
class RouterSettings:
    """What can be chosen of a router; the defaults are the published ones, but for `balance_over`.

    balance_over: "update" balances the experts over the bags of an update. The published code (`--protocol paper`)
    does so over each "bag" by itself, which merely holds down every bag's largest probability.
    noise: standard deviation of what is added to the router's logits while it learns. temperature: they are divided
    by it. renormalise: do the chosen gates sum to 1? As published they do not.
    """

    embedding: int = 512
    attention: int = 384
    dropout: float = 0.25
    top_k: int = 5
    expert_network: str = "mlp"
    balance_weight: float = 0.01
    z_weight: float = 0.01
    balance_over: str = "update"
    noise: float = 0.0
    temperature: float = 1.0
    renormalise: bool = False

    def __post_init__(self) -> None:
        for field in ("embedding", "attention", "top_k"):
            if getattr(self, field) < 1:
                raise ConfigError(f"router.{field} is {getattr(self, field)}; it must be 1 or more")
        for field in ("balance_weight", "z_weight", "noise"):
            if getattr(self, field) < 0:
                raise ConfigError(f"router.{field} is {getattr(self, field)}; it must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"router.dropout is {self.dropout}; it must be at least 0 and below 1")
        if not self.temperature > 0:
            raise ConfigError(f"router.temperature is {self.temperature}; it must be above 0")
        for field, known in (("expert_network", EXPERT_NETWORKS), ("balance_over", BALANCES)):
            refuse_unknown(f"router.{field}", getattr(self, field), known)


class RouterOutput(NamedTuple):
    """What a router says of B bags.

    logits (B, K), representation (B, V), and by expert, (B, n): router_logits, probabilities (sum to 1) and gates
    (the probabilities of the top k, else 0).
    """

    logits: Tensor
    representation: Tensor
    router_logits: Tensor
    probabilities: Tensor
    gates: Tensor


class Router(ABMIL):
    """A router for `n_experts` bag vectors of width `vector`; parameter names are those of the published code."""

    def __init__(self, settings: RouterSettings, *, width: int, n_experts: int, vector: int, intervals: int) -> None:
        super().__init__(
            Architecture(
                width,
                "abmil",
                embedding=settings.embedding,
                attention=settings.attention,
                intervals=intervals,
                dropout=settings.dropout,
            )
        )
        self.settings = settings
        self.router = nn.Linear(settings.embedding, n_experts, bias=False)
        networks: list[nn.Module] = []
        if settings.expert_network == "mlp":
            networks = [nn.Sequential(nn.Linear(vector, vector), nn.ReLU()) for _ in range(n_experts)]
        self.experts = nn.ModuleList(networks)
        self.pred_head = nn.Linear(vector, intervals)

    def route(self, features: Tensor, offsets: Tensor, vectors: Tensor) -> RouterOutput:
        """`features` (P, D) of B bags (bag b owns rows offsets[b]:offsets[b + 1]), and their `vectors` (B, n, V)."""
        bag, _ = self.pool(F.linear(features, *self.patch_layer()), offsets)
        with torch.autocast(bag.device.type, enabled=False):
            router_logits = self.router(bag) / self.settings.temperature
            if self.training and self.settings.noise:
                router_logits = router_logits + self.settings.noise * torch.randn_like(router_logits)
            probabilities = router_logits.softmax(dim=-1)
            top, index = probabilities.topk(min(self.settings.top_k, probabilities.shape[-1]), dim=-1)
            if self.settings.renormalise:
                top = top / top.sum(dim=-1, keepdim=True)
            gates = torch.zeros_like(probabilities).scatter(-1, index, top)
            experts = vectors
            if self.experts:
                experts = torch.stack([network(vectors[:, i]) for i, network in enumerate(self.experts)], dim=1)
            representation = (gates.unsqueeze(-1) * experts).sum(dim=1)
            return RouterOutput(self.pred_head(representation), representation, router_logits, probabilities, gates)


def routing_penalty(output: RouterOutput, settings: RouterSettings) -> Tensor:
    """What is added to the survival loss of an update: load balance and z-loss, weighted, scalar.

    balance = sum over experts of (mean probability x share of bags whose first choice it is); z-loss = mean of
    logsumexp(router logits)^2 (parity notes; Fedus et al. 2022, arXiv 2101.03961; Zoph et al. 2022, arXiv 2202.08906).
    """
    probabilities = output.probabilities
    if settings.balance_over == "bag":
        balance = probabilities.max(dim=-1).values.mean()
    else:
        first = F.one_hot(probabilities.argmax(dim=-1), probabilities.shape[-1]).to(probabilities.dtype)
        balance = (probabilities.mean(dim=0) * first.mean(dim=0)).sum()
    z_loss = output.router_logits.logsumexp(dim=-1).square().mean()
    return settings.balance_weight * balance + settings.z_weight * z_loss
