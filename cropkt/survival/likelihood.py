"""Parts that the likelihoods of discrete-time survival models share."""

from torch import Tensor


def clamped_log(probability: Tensor, eps: float) -> Tensor:
    """log of `probability` (B, 1), clamped from below at `eps`: (B,)."""
    return probability.squeeze(1).clamp_min(eps).log()


def weigh_censored(died: Tensor, censored: Tensor, event: Tensor, alpha: float) -> Tensor:
    """(B,): `died` where `event` (B,) is 1, else (1 - alpha) times `censored`."""
    event = event.to(died.dtype)
    return event * died + (1 - event) * (1 - alpha) * censored
