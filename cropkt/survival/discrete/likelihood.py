"""Parts that the likelihoods of discrete-time survival models share."""

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
