"""Progress a person can read: stage, done / total, rate, time left, what is at work. Quiet when not a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


class Stage:
    """One stage's progress line; `advance` after each piece of work."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar

    def advance(self, current: str, *, by: int = 1) -> None:
        """`by` more pieces are done; `current` says what is at work."""
        self._bar.set_postfix_str(current, refresh=False)
        self._bar.update(by)

    def reach(self, done: int, total: int) -> None:
        """`done` pieces of `total` are done."""
        self._bar.total = total
        self._bar.n = done
        self._bar.refresh()

    def show(self, current: str) -> None:
        """`current` says what is at work."""
        self._bar.set_postfix_str(current)

    def say(self, message: str) -> None:
        """A line to keep, above the progress line."""
        self._bar.write(message, file=sys.stderr)


@contextmanager
def stage(name: str, total: int, unit: str) -> Iterator[Stage]:
    """A progress line on the terminal's standard error; nothing is drawn elsewhere."""
    with tqdm(
        total=total,
        desc=name,
        unit=f" {unit}",
        disable=None,
        dynamic_ncols=True,
        bar_format="{desc}: {n_fmt}/{total_fmt}{unit} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}",
    ) as bar:
        yield Stage(bar)
