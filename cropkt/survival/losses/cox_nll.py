"""Cox's partial likelihood. One logit, the log-risk; no hazards."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from cropkt.survival.losses import Loss, SurvivalTargets

MOST_LOG_RISK = 10.0
"""Log-risks are cut here, so that exp stays finite."""


def cox_nll(log_risk: Float[Tensor, " B"], time: Real[Tensor, " B"], event: Real[Tensor, " B"]) -> Float[Tensor, ""]:
    """Cox's negative log partial likelihood of B patients, over all B, not over events: a scalar. Ties as Breslow.

    `log_risk` (B,) is cut at 10 from above; `time` (B,) may have any unit. The risk sets are within these patients.
    """
    capped = log_risk.clamp_max(MOST_LOG_RISK)
    at_risk = time[None, :] >= time[:, None]
    log_sum = capped[None, :].masked_fill(~at_risk, -torch.inf).logsumexp(dim=1)
    return -(event.to(capped.dtype) * (capped - log_sum)).mean()


def _value(logits: Tensor, labels: SurvivalTargets, alpha: float, eps: float) -> Tensor:  # noqa: ARG001
    """The risk sets are those of the update."""
    return cox_nll(logits[:, 0], labels.time, labels.event)


def _hazard_and_risk(logits: Float[Tensor, "*N K"]) -> tuple[Float[Tensor, "*N K"], Float[Tensor, "*N"]]:
    return torch.full_like(logits, torch.nan), logits[..., 0]


LOSS = Loss("cox_nll", label="Cox partial likelihood", value=_value, hazard_and_risk=_hazard_and_risk, intervals=1)
