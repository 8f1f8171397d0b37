"""How every command ends: an exit code a shell can use and, for bad input, one clear message without a traceback."""

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cropkt.errors import InputError

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED, UNREAD, TERMINATED = 0, 1, 2, 130, 141, 143
GO_ON = "run the same command again to go on from here"


def run_command(command: Callable[[], int]) -> int:
    """Run `command`, which returns an exit code: 0 done, 1 finished with failures (it has listed them), 2 bad input.

    Ctrl-C ends it with 130, SIGTERM (which SLURM sends before the walltime ends) with 143, and one sentence each. Where
    nobody reads the output any more (`| head`) it ends with 141 and without a word, as if by SIGPIPE.
    """
    with _sigterm_interrupts() as terminated:
        try:
            return _flushed(command)
        except BrokenPipeError:
            if _is_read():
                raise  # another pipe, or a connection
            return UNREAD
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


def _flushed(command: Callable[[], int]) -> int:
    """What `command` returns, when all it printed is out: left to Python's end, a broken pipe would be told there."""
    try:
        code = command()
    except SystemExit:  # --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _is_read() -> bool:
    """Does anybody read standard output? If not, what is left of it goes nowhere."""
    try:
        output = sys.stdout.fileno()
    except io.UnsupportedOperation:  # no file
        return True
    asked = select.poll()
    asked.register(output, 0)
    if not any(state & (select.POLLERR | select.POLLHUP) for _, state in asked.poll(0)):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return False


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
