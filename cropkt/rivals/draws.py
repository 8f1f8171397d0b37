"""Draws of a target: few training patients, everybody else tested. The same draw for every rival."""

from collections.abc import Sequence

import numpy as np

from cropkt.borrowing.folds import Split
from cropkt.rivals import ALL
from cropkt.seeds import generator

FEWEST_TESTED = 10
"""A draw that leaves fewer patients to test is not made."""


def draw(n_patients: int, size: int, *, seed: int, code: str, number: int) -> Split | None:
    """Training and test indices of draw `number`: `size` of `n_patients` at random; None where too few would be tested.

    Draws are nested: the 20 patients of a draw are among its 40.
    """
    if n_patients - size < FEWEST_TESTED:
        return None
    order = generator(seed, "training patients", code, number).permutation(n_patients)
    return np.sort(order[:size]), np.sort(order[size:])


def splits_of(size: str, splits: Sequence[Split], n_patients: int, *, seed: int, code: str, number: int) -> list[Split]:
    """The splits of a draw: one, or `splits` for the size ALL; none where too few patients would be tested."""
    if size == ALL:
        return [_apart(split) for split in splits if len(split[0])]
    found = draw(n_patients, int(size), seed=seed, code=code, number=number)
    return [] if found is None else [found]


def _apart(split: Split) -> Split:
    train, test = split
    return train[~np.isin(train, test)], test
