"""Randomness by name, not by turn: the same seed and names give the same stream wherever and whenever it is drawn.

So neither the order in which cohorts are processed, nor how many workers process them, nor a restart changes a
number.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def named_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` under the study's `seed`.

    >>> named_seed(7, "train", "acc", 2) == named_seed(7, "train", "acc", 2)
    True
    >>> named_seed(7, "train", "acc", 2) == named_seed(7, "train", "acc", 3)
    False
    """
    key = "/".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator for the stream called `names`."""
    return np.random.default_rng(named_seed(seed, *names))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """Torch generator for the stream called `names`, on `device`."""
    import torch

    return torch.Generator(device=device).manual_seed(named_seed(seed, *names))
