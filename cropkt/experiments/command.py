"""How every command ends: an exit code a shell can use and, for bad input, one clear message without a traceback."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cropkt.errors import InputError

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
GO_ON = "run the same command again to go on from here"


def run_command(command: Callable[[], int]) -> int:
    """Run `command`, which returns an exit code: 0 done, 1 finished with failures (it has listed them), 2 bad input.

    Ctrl-C ends it with 130, SIGTERM (which SLURM sends before the walltime ends) with 143, and one sentence each.
    """
    with _sigterm_interrupts() as terminated:
        try:
            return command()
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_INPUT
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "cropkt"):
                raise  # a fault of ours
            print(
                f"error: {sys.executable} has no package {package!r}; in a clone, run `make setup` first; elsewhere, "
                "`pip install cropkt` with its dependencies",
                file=sys.stderr,
            )
            return BAD_INPUT
        except KeyboardInterrupt:
            if terminated.is_set():
                print(f"\nstopped by SIGTERM; {GO_ON}", file=sys.stderr)
                return TERMINATED
            print(f"\nstopped; {GO_ON}", file=sys.stderr)
            return INTERRUPTED


@contextmanager
def _sigterm_interrupts() -> Iterator[threading.Event]:
    """Within the block SIGTERM is a KeyboardInterrupt, and sets the event. A second one changes nothing: it would cut
    short how the first one lets go of workers and files."""
    terminated = threading.Event()

    def interrupt(*_: object) -> None:
        if not terminated.is_set():
            terminated.set()
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield terminated  # only a main thread may listen to signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def own_sigterm() -> Iterator[None]:
    """For code that puts up a SIGTERM handler of its own and leaves it (Ray): ours is back after the block, and hears
    of a SIGTERM that the other one has turned into SystemExit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == signal.SIGTERM and callable(ours):
            ours(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, ours or signal.SIG_DFL)
