"""From logits to hazard, survival and risk. Risk up means worse: a higher risk is an earlier event; never flipped.

Shapes: (..., K) for K intervals, any leading axes.
"""

from jaxtyping import Float
from torch import Tensor


def hazard(logits: Float[Tensor, "*N K"]) -> Float[Tensor, "*N K"]:
    """h_t = sigmoid(logit_t): the probability of the event in interval t, for those who reach it."""
    return logits.sigmoid()


def survival(hazard: Float[Tensor, "*N K"]) -> Float[Tensor, "*N K"]:
    """S(t) = product over u <= t of (1 - h_u): the probability of outliving interval t."""
    return (1 - hazard).cumprod(dim=-1)


def incidence_survival(logits: Float[Tensor, "*N K"]) -> Float[Tensor, "*N K"]:
    """S(t) = 1 - sum over u <= t of f_u with f = softmax(logits): the interval-free variant's survival."""
    return 1 - logits.softmax(dim=-1).cumsum(dim=-1)


def risk(survival: Float[Tensor, "*N K"]) -> Float[Tensor, "*N"]:
    """(...,): -sum over t of S(t), minus the expected number of intervals outlived."""
    return -survival.sum(dim=-1)
