"""AdamW with the published rules: what decays, and how the learning rate moves."""

import math

import torch
from torch import nn

from cropkt.training.config import TrainingConfig

_NEVER_DECAYS = ("bn", "ln", "bias", "logit_scale")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Does weight decay act on this parameter? Not on 1-D tensors, nor on biases, norms and temperatures by name."""
    return parameter.ndim > 1 and not any(word in name for word in _NEVER_DECAYS)


def build_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (betas .9 and .999, eps 1e-8) over `model`'s trainable parameters, in a decaying and a plain group."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    groups = [
        {
            "params": [value for name, value in named if decays(name, value)],
            "weight_decay": config.weight_decay,
        },
        {"params": [value for name, value in named if not decays(name, value)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(update: int, updates_per_epoch: int, config: TrainingConfig) -> float:
    """The rate in force at `update` (counted from 0 over all epochs).

    Linear from 0 over the warm-up epochs, then half a cosine down to 0. So the first update has rate 0, as published.
    """
    warmup = config.warmup_epochs * updates_per_epoch
    if update < warmup:
        return config.learning_rate * update / warmup
    if config.schedule == "constant":
        return config.learning_rate
    total = config.epochs * updates_per_epoch
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Put `rate` into every group of `optimiser`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
