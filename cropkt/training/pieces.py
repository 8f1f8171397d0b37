"""A batch in pieces: bags are read where they lie, and a forward pass that fits any memory.

A long bag is a piece of its own, a view of the cohort's patches; only short bags are copied side by side. The loss is
of the whole batch, so how it is cut changes a gradient by rounding only.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cropkt.data.bags import Bags
from cropkt.models.mil import MILModel

PATCHES_PER_PIECE = {"cpu": 4096, "cuda": 131072}
"""On a CPU a piece's activations should stay near the cache; a GPU needs long pieces to be busy."""

ROWS = 64
"""A CPU's library makes code for each shape of a bfloat16 product, and keeps about a hundred shapes. Pieces of several
bags are of ever new lengths; in whole multiples of this many patches they are of few, and training takes half the time.
"""


def pieces(batch: np.ndarray, lengths: np.ndarray, n_patches: int) -> Iterator[np.ndarray]:
    """`batch` (indices of bags) cut into runs of at most `n_patches` patches, its order kept; a longer bag is alone.

    `lengths` (B,) are the patches of every bag, whether in the batch or not.
    """
    start, held = 0, 0
    for place, length in enumerate(lengths[batch]):
        if place > start and held + length > n_patches:
            yield batch[start:place]
            start, held = place, 0
        held += length
    yield batch[start:]


def sample_patches(
    bags: Bags, chosen: np.ndarray, ends: np.ndarray, most: int, draw: Callable[[str], np.random.Generator]
) -> Bags:
    """The bags `chosen` (indices) with at most `most` patches each; `ends` (B + 1,) are `bags.offsets` on the host.

    A longer bag's patches are drawn without replacement and keep their order; `draw(patient)` gives their stream.
    """
    rows = []
    for bag in chosen:
        start, length = ends[bag], ends[bag + 1] - ends[bag]
        if length > most:
            rows.append(start + np.sort(draw(bags.patients[bag]).choice(length, most, replace=False)))
        else:
            rows.append(np.arange(start, start + length))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])])
    index, offset = (to_device(part, bags.features.device) for part in (np.concatenate(rows), offsets))
    return Bags(tuple(bags.patients[bag] for bag in chosen), bags.features[index], offset)


def logits_of(
    model: MILModel, parts: Iterable[Bags], *, recompute: bool, before_each: Callable[[], None] = lambda: None
) -> Tensor:
    """The logits (B, K) of the bags of all `parts`, one after the other.

    With `recompute` a piece's activations are thrown away and computed again, to the same numbers and with the same
    dropout, when the gradient passes: memory is that of one piece, for a third more arithmetic. `before_each()` is
    called before each piece is looked at, when the gradient passes too.
    """

    def logits(features: Tensor, offsets: Tensor) -> Tensor:
        bags = len(offsets) - 1
        if bags > 1 and features.dtype == torch.bfloat16 and features.device.type == "cpu":
            features, offsets = filled_up(features, offsets)
        found: Tensor = model(features, offsets).logits
        return found[:bags]

    outputs = []
    for part in parts:
        before_each()
        inputs = (part.features, part.offsets)
        output: Tensor = checkpoint(logits, *inputs, use_reentrant=False) if recompute else logits(*inputs)
        if output.requires_grad:
            output.register_hook(lambda _: before_each())
        outputs.append(output)
    return torch.cat(outputs)


def filled_up(features: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """`features` (P, D) and `offsets` (B + 1,) with one more bag, of zeros, so that P is a whole multiple of ROWS.

    They stay as they are where it is one already. Nothing of the bag of zeros may reach the loss.
    """
    missing = -len(features) % ROWS
    if not missing:
        return features, offsets
    return functional.pad(features, (0, 0, 0, missing)), torch.cat([offsets, offsets[-1:] + missing])


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """`values` on `device`, without waiting for what a GPU still has to do."""
    return torch.from_numpy(values).to(device, non_blocking=True)
