"""Negative log-likelihood of discrete incidences: the published interval-free variant."""

import torch
from jaxtyping import Float, Integer, Real
from torch import Tensor

from cropkt.survival.discrete.likelihood import clamped_log, weigh_censored
from cropkt.survival.discrete.risk import incidence_survival, risk
from cropkt.survival.losses import Loss, SurvivalTargets


def incidence_nll(
    logits: Float[Tensor, "B K"],
    interval: Integer[Tensor, " B"],
    event: Real[Tensor, " B"],
    *,
    alpha: float = 0.5,
    eps: float = 1e-7,
) -> Float[Tensor, " B"]:
    """Each patient's negative log-likelihood (B,) under incidences f = softmax(logits), logits (B, K).

    An event in interval b costs -log f_b, a censored patient (1 - alpha) times -log(1 - F_b), F the running sum.
    Nothing is left after the last interval, so for a patient censored there the clamp decides.
    """
    index = interval.long()[:, None]
    died = -clamped_log(logits.softmax(dim=1).gather(1, index), eps)
    censored = -clamped_log(incidence_survival(logits).gather(1, index), eps)
    return weigh_censored(died, censored, event, alpha)


def _value(logits: Float[Tensor, "B K"], labels: SurvivalTargets, alpha: float, eps: float) -> Float[Tensor, ""]:
    return incidence_nll(logits, labels.interval, labels.event, alpha=alpha, eps=eps).mean()


def _hazard_and_risk(logits: Float[Tensor, "*N K"]) -> tuple[Float[Tensor, "*N K"], Float[Tensor, "*N"]]:
    curve = incidence_survival(logits)
    before = torch.cat([torch.ones_like(curve[..., :1]), curve[..., :-1]], dim=-1)
    return 1 - curve / before.clamp_min(torch.finfo(curve.dtype).tiny), risk(curve)


LOSS = Loss("incidence_nll", label="discrete incidences", value=_value, hazard_and_risk=_hazard_and_risk)
