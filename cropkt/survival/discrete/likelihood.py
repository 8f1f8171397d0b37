"""Parts that the likelihoods of discrete-time survival models share."""

from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor


def clamped_log(probability: Float[Tensor, "B 1"], eps: float) -> Float[Tensor, " B"]:
    """log of `probability` (B, 1), clamped from below at `eps`: (B,)."""
    return probability.squeeze(1).clamp_min(eps).log()


def weigh_censored(
    died: Float[Tensor, " B"], censored: Float[Tensor, " B"], event: Real[Tensor, " B"], alpha: float
) -> Float[Tensor, " B"]:
    """(B,): `died` where `event` (B,) is 1, else (1 - alpha) times `censored`."""
    event = event.to(died.dtype)
    return event * died + (1 - event) * (1 - alpha) * censored


def survival_curve(hazard: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """The products of 1 - hazard up to each interval (B, K), for likelihoods that clamp them from below.

    torch's own gradient of a product asks first whether a factor is 0, and a GPU would be waited for in every update.
    Here it need not ask: all products from such a factor on are clamped, so its gradient is 0.
    """
    curve: Tensor = _RunningProduct.apply(1 - hazard)
    return curve


class _RunningProduct(torch.autograd.Function):
    """cumprod over the last axis; a factor of 0 gets no gradient."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor) -> Tensor:
        products = factors.cumprod(dim=-1)
        ctx.save_for_backward(factors, products)
        return products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        factors, products = ctx.saved_tensors
        weighted = (gradient * products).flip(-1).cumsum(dim=-1).flip(-1)
        return torch.where(factors == 0, 0.0, weighted / factors)
