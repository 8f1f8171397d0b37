"""Tiles: a cohort's bags in portions that fit in memory. A bag longer than a tile comes in parts.

Whoever walks tiles meets two things: `Bags`, one or more whole bags, and `LongBag`, one bag to be walked part by part.
Resident bags and streamed ones give the same tiles, so what reads tiles does not know where patches come from.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Item = TypeVar("Item")

BAGS_PER_TILE = 32
AHEAD = 1
"""Items that are read and wait while another is in use, and yet another is being read."""


class BagChangedError(Exception):
    """A slide of a long bag was found bad when it had been walked: the bag is to be walked again, without it."""


@dataclass(frozen=True)
class LongBag:
    """A bag that comes in parts.

    `parts()` walks it once, from its first patch to its last: tensors (P, D). A walk may raise BagChangedError; what
    was made of its parts is then to be forgotten, and another walk gives the bag as it is. A bag that has no good slide
    has no parts.
    """

    patient: str
    parts: Callable[[], Iterator[torch.Tensor]]


def runs_of_bags(lengths: Sequence[int] | np.ndarray, n_patches: int) -> Iterator[range]:
    """Runs of whole bags with about `n_patches` patches each; a longer bag is a run of its own."""
    start, held = 0, 0
    for bag, length in enumerate(lengths):
        if bag > start and (held + length > n_patches or bag - start >= BAGS_PER_TILE):
            yield range(start, bag)
            start, held = bag, 0
        held += int(length)
    if len(lengths):
        yield range(start, len(lengths))


def read_ahead(items: Iterator[Item], ahead: int = AHEAD) -> Generator[Item, None, None]:
    """The same items in the same order, made by another thread, which is at most `ahead` items and one in the making
    before whoever takes them. An error of `items` is raised where the item would have come."""
    made: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(ahead)
    stopped = threading.Event()

    def put(kind: str, value: "Item | BaseException | None") -> None:
        while not stopped.is_set():
            try:
                made.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                put("item", item)
                del item  # not held while the next one is made
                if stopped.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise value  # type: ignore[misc]
            yield value  # type: ignore[misc]
            del value
    finally:
        stopped.set()
        thread.join()
