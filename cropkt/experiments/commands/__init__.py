"""The `cropkt` command: a table of subcommands, each of which parses its flags and calls what does the work."""

import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import cropkt
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

COMMANDS = {
    "sweep": "sweep",
    "train": "train",
    "route": "route",
    "factors": "factors",
    "predict": "predict",
    "report": "report",
    "log": "log",
    "simulate": "simulate",
    "pack": "pack",
    "build-tcga": "build_tcga",
    "check-significance": "checks.significance",
    "check-factors": "checks.factors",
    "check-routing": "checks.routing",
}
"""Name of each subcommand, and its module here; the module's first line is its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        return int(_module(given[0]).main(given[1:]))
    return run_command(lambda: _no_command(given))


def _no_command(given: Sequence[str]) -> int:
    lines = [f"  {name:20s}{(_module(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS]
    parser = Parser(
        "Cross-cancer prognosis transfer from whole-slide images.",
        prog="cropkt",
        epilog="\n".join(["commands:", *lines, "", "cropkt COMMAND --help explains a command and its flags."]),
    )
    parser.add_argument("--version", action="version", version=f"cropkt {cropkt.__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, nargs="?")
    parser.parse_args(given)
    parser.print_help()
    return DONE


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{COMMANDS[name]}")
