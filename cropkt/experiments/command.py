"""How every command ends: an exit code a shell can use and, for bad input, one clear message without a traceback."""

import sys
from collections.abc import Callable

from cropkt.errors import InputError

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run_command(command: Callable[[], int]) -> int:
    """Run `command`, which returns an exit code: 0 done, 1 finished with failures (it has listed them), 2 bad input."""
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
        print("\nstopped; run the same command again to go on from here", file=sys.stderr)
        return INTERRUPTED
