"""From patches to bags: the bags of a batch lie one after the other, and offsets say whose is whose.

Shapes: P patches of B bags, E embedding. On a CPU attention and mean are pooled bag by bag: each patch is touched once,
in cache. On a GPU some hundred small kernels would cost more than the work in them, so a dense (B, P) membership turns
pooling into one masked softmax and one matrix product; its cost grows with B x P. Both are deterministic,
differentiable, need no padding, and pool in float32.
"""

import torch
from torch import Tensor

BAG_BY_BAG = ("cpu",)
"""Devices that pool one bag after the other."""


def membership(offsets: Tensor, n_patches: int) -> Tensor:
    """(B, P) bool: does patch p belong to bag b? `offsets` is (B + 1,) int64; bag b owns offsets[b]:offsets[b + 1].

    Every bag must own at least one patch, and the last offset must be `n_patches`. Raises ValueError where the offsets
    are on the CPU; on a GPU looking at them would make it wait for all that is queued, and an empty bag gives NaN.
    """
    if offsets.device.type == "cpu":
        _check(offsets, n_patches)
    patch = torch.arange(n_patches, device=offsets.device)
    return (patch >= offsets[:-1, None]) & (patch < offsets[1:, None])


def bags_of(patches: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """The bags of `patches` (P, E), one tensor each, for what cannot be done to all bags at once.

    Raises ValueError when a bag is empty or the offsets are not those of `patches`. On a GPU this waits once.
    """
    offsets = offsets.cpu()
    _check(offsets, len(patches))
    return patches.split(offsets.diff().tolist())


def _check(offsets: Tensor, n_patches: int) -> None:
    if bool((offsets.diff() <= 0).any()):
        raise ValueError(f"every bag needs at least one patch; offsets are {offsets.tolist()[:20]}")
    if int(offsets[-1]) != n_patches:
        raise ValueError(f"offsets end at {int(offsets[-1])}, but there are {n_patches} patches")


def attention_pool(score: Tensor, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of `score` (P,) within each bag, and the bags' weighted mean of `embedding` (P, E).

    Returns the representation (B, E) and the attention (P,). Both are computed in the precision of `score`:
    rounding attention or the mean to bfloat16 would cost digits that ranking patients needs.
    """
    if embedding.device.type not in BAG_BY_BAG:
        weight = score.masked_fill(~membership(offsets, len(score)), -torch.inf).softmax(dim=1)
        return weight @ embedding.to(score.dtype), weight.sum(dim=0)
    weights = [bag.softmax(dim=0) for bag in bags_of(score, offsets)]
    means = [weight @ bag.to(score.dtype) for weight, bag in zip(weights, bags_of(embedding, offsets), strict=True)]
    return torch.stack(means), torch.cat(weights)


def mean_pool(embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The bags' mean of `embedding` (P, E): representation (B, E) and the equal attention (P,) it amounts to."""
    # Softmax of equal scores: the same weights, 1 / length, by the same way of pooling.
    return attention_pool(embedding.new_zeros(len(embedding)), embedding, offsets)


def max_pool(embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The bags' maximum of `embedding` (P, E), feature by feature: (B, E).

    The attention (P,) is the share of features in which a patch is its bag's maximum.
    """
    maxima = [bag.max(dim=0) for bag in bags_of(embedding, offsets)]
    representation = torch.stack([maximum.values for maximum in maxima])
    where = (torch.stack([maximum.indices for maximum in maxima]) + offsets[:-1, None]).flatten()
    wins = embedding.new_zeros(len(embedding)).index_add_(0, where, embedding.new_ones(len(where)))
    return representation, wins / embedding.shape[1]
