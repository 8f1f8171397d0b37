"""Runs a command from a clone: with the clone's own cropkt and, where it has been made, the clone's environment."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(command: str) -> None:
    """Run `cropkt COMMAND` with the script's arguments, and exit with its code."""
    python = ROOT / ".venv" / "bin" / "python"
    if find_spec("torch") is None and python.is_file() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(python, [str(python), *sys.argv])  # `make setup` has put everything there
    sys.path.insert(0, str(ROOT))
    from cropkt.experiments.commands import main

    sys.exit(main([command, *sys.argv[1:]]))
