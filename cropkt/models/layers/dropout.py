"""Masks of dropout, drawn from torch's current random state eight entries at a time."""

import torch
from torch import Tensor


def kept_like(entries: Tensor, keep: float) -> Tensor:
    """A mask of the shape, type and device of `entries`: 1 where an entry is kept, with probability `keep`, else 0.

    Where `keep` is a whole number of 256ths (.75 is, and its square) an entry costs one random byte, a tenth of the
    time of torch's own masks on a CPU; any other probability costs a random float32. The mask has the type of
    `entries` because multiplying by bool is three times slower.
    """
    threshold = 256 * keep
    mask = torch.empty_like(entries, requires_grad=False)
    if not float(threshold).is_integer():
        return torch.lt(torch.rand(entries.shape, device=entries.device), keep, out=mask)
    words = torch.empty(-(-entries.numel() // 8), dtype=torch.int64, device=entries.device).random_(-(2**63), None)
    return torch.lt(words.view(torch.uint8)[: entries.numel()].view(entries.shape), threshold, out=mask)
