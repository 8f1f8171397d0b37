"""Negative log-likelihood of discrete hazards (Zadeh & Schmid 2020), the study's loss."""

import torch
from jaxtyping import Float, Integer, Real
from torch import Tensor

from cropkt.survival.discrete.likelihood import clamped_log, survival_curve, weigh_censored
from cropkt.survival.discrete.risk import hazard, risk, survival
from cropkt.survival.losses import Loss, SurvivalTargets


def discrete_nll(
    logits: Float[Tensor, "B K"],
    interval: Integer[Tensor, " B"],
    event: Real[Tensor, " B"],
    *,
    alpha: float = 0.5,
    eps: float = 1e-7,
) -> Float[Tensor, " B"]:
    """Each patient's negative log-likelihood (B,) under hazards sigmoid(logits), logits (B, K).

    With S(-1) = 1: an event in interval b costs -log S(b - 1) - log h_b, a censored patient (1 - alpha) times
    -log S(b) (Zadeh & Schmid 2020).
    """
    index = interval.long()[:, None]
    rate = hazard(logits)
    curve = survival_curve(rate)
    before = torch.cat([torch.ones_like(curve[:, :1]), curve], dim=1)
    died = -clamped_log(before.gather(1, index), eps) - clamped_log(rate.gather(1, index), eps)
    censored = -clamped_log(curve.gather(1, index), eps)
    return weigh_censored(died, censored, event, alpha)


def _value(logits: Float[Tensor, "B K"], labels: SurvivalTargets, alpha: float, eps: float) -> Float[Tensor, ""]:
    return discrete_nll(logits, labels.interval, labels.event, alpha=alpha, eps=eps).mean()


def _hazard_and_risk(logits: Float[Tensor, "*N K"]) -> tuple[Float[Tensor, "*N K"], Float[Tensor, "*N"]]:
    return hazard(logits), risk(survival(hazard(logits)))


LOSS = Loss("discrete_nll", label="discrete hazards, as published", value=_value, hazard_and_risk=_hazard_and_risk)
