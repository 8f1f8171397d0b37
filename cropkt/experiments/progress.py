"""Progress a person can read: stage, done / total, rate, time left, what is at work.

A terminal shows a line that changes. Elsewhere (a SLURM job's file) there is a line a minute, so that a run that hangs
is seen to. Both are in OUT/log.txt.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cropkt.experiments.journal import voice

if TYPE_CHECKING:
    from tqdm import tqdm

EVERY = 60.0
"""Seconds between two lines where there is no terminal."""
_COUNTS = "{desc}: {n_fmt}/{total_fmt}{unit}"
_PACE = "{rate_noinv_fmt}, {remaining} left{postfix}"


class Stage:
    """One stage's progress line; `advance` after each piece of work."""

    def __init__(self, bar: "tqdm[Any]", *, every_piece: bool) -> None:
        self._bar = bar
        self._every_piece = every_piece

    def advance(self, current: str, *, by: int = 1) -> None:
        """`by` more pieces are done; `current` says what is at work."""
        self._bar.set_postfix_str(current, refresh=False)
        self._bar.update(by)
        if self._every_piece:
            self.tell()

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

    def tell(self) -> None:
        """The progress so far, as a line of its own."""
        print(str(self._bar), file=sys.stderr, flush=True)


@contextmanager
def stage(name: str, total: int, unit: str) -> Iterator[Stage]:
    """A progress line on standard error; with --quiet there is none, with --verbose one for each piece of work."""
    from tqdm import tqdm

    terminal, asked = sys.stderr.isatty(), voice()
    drawn = terminal and not (asked.quiet or asked.verbose)
    with tqdm(
        total=total,
        desc=name,
        unit=f" {unit}",
        file=sys.stderr if drawn else _Nowhere(),
        dynamic_ncols=drawn,
        bar_format=f"{_COUNTS} |{{bar}}| {_PACE}" if drawn else f"{_COUNTS}, {_PACE}",
    ) as bar:
        line = Stage(bar, every_piece=asked.verbose)
        if drawn or asked.quiet:
            yield line
            return
        with _each_minute(line):
            yield line


@contextmanager
def _each_minute(line: Stage) -> Iterator[None]:
    """Tell of progress every minute, whether or not any piece of work has ended in it."""

    def tell(finished: threading.Event) -> None:
        while not finished.wait(EVERY):
            line.tell()

    with beside(tell):
        yield


@contextmanager
def beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do `work` in a thread while the block runs; the event that it is given says that the block has ended."""
    finished = threading.Event()
    thread = threading.Thread(target=work, args=(finished,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


class _Nowhere:
    """A stream that shows nothing: a bar that is not drawn still counts and knows its pace."""

    def write(self, text: str) -> int:
        """Nothing."""
        return len(text)

    def flush(self) -> None:
        """Nothing."""
