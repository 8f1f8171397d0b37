"""Losses of discrete-time survival models and the Cox partial likelihood, as published.

Shapes: B patients, K intervals. `interval` (B,) int64, `event` (B,) 0/1. Every factor is clamped from below before its
logarithm, so a clamped factor has gradient 0.
"""

import torch
from torch import Tensor

from cropkt.survival.risk import hazard, incidence_survival

MOST_LOG_RISK = 10.0
"""Log-risks are cut here in the Cox likelihood, so that exp stays finite."""


def discrete_nll(logits: Tensor, interval: Tensor, event: Tensor, *, alpha: float = 0.5, eps: float = 1e-7) -> Tensor:
    """Each patient's negative log-likelihood (B,) under hazards sigmoid(logits), logits (B, K).

    With S(-1) = 1: an event in interval b costs -log S(b - 1) - log h_b, a censored patient (1 - alpha) times
    -log S(b) (Zadeh & Schmid 2020).
    """
    index = interval.long()[:, None]
    rate = hazard(logits)
    curve = (1 - rate).cumprod(dim=1)
    before = torch.cat([torch.ones_like(curve[:, :1]), curve], dim=1)
    died = -_log(before.gather(1, index), eps) - _log(rate.gather(1, index), eps)
    censored = -_log(curve.gather(1, index), eps)
    return _weighted(died, censored, event, alpha)


def incidence_nll(logits: Tensor, interval: Tensor, event: Tensor, *, alpha: float = 0.5, eps: float = 1e-7) -> Tensor:
    """Each patient's negative log-likelihood (B,) under incidences f = softmax(logits), logits (B, K).

    An event in interval b costs -log f_b, a censored patient (1 - alpha) times -log(1 - F_b), F the running sum.
    Nothing is left after the last interval, so for a patient censored there the clamp decides.
    """
    index = interval.long()[:, None]
    died = -_log(logits.softmax(dim=1).gather(1, index), eps)
    censored = -_log(incidence_survival(logits).gather(1, index), eps)
    return _weighted(died, censored, event, alpha)


def cox_nll(log_risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Cox's negative log partial likelihood of B patients, over all B, not over events: a scalar. Ties as Breslow.

    `log_risk` (B,) is cut at 10 from above; `time` (B,) may have any unit. The risk sets are within these patients.
    """
    capped = log_risk.clamp_max(MOST_LOG_RISK)
    at_risk = time[None, :] >= time[:, None]
    log_sum = capped[None, :].masked_fill(~at_risk, -torch.inf).logsumexp(dim=1)
    return -(event.to(capped.dtype) * (capped - log_sum)).mean()


def _log(probability: Tensor, eps: float) -> Tensor:
    return probability.squeeze(1).clamp_min(eps).log()


def _weighted(died: Tensor, censored: Tensor, event: Tensor, alpha: float) -> Tensor:
    event = event.to(died.dtype)
    return event * died + (1 - event) * (1 - alpha) * censored
