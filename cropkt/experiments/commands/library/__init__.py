"""Libraries that travel: source models that score slides elsewhere, and summaries of cohorts to borrow from."""

from collections.abc import Sequence
from importlib import import_module

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

SUBCOMMANDS = {"export": "export", "show": "show", "summaries": "summaries"}
"""Name of each subcommand, and its module here; the module's first line is its help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cropkt library SUBCOMMAND`; returns the exit code."""
    given = list(arguments or [])
    if given and given[0] in SUBCOMMANDS:
        return int(import_module(f"{__name__}.{SUBCOMMANDS[given[0]]}").main(given[1:]))
    return run_command(lambda: _no_subcommand(given))


def _no_subcommand(given: Sequence[str]) -> int:
    lines = []
    for name, module in SUBCOMMANDS.items():
        lines.append(f"  {name:10s}{(import_module(f'{__name__}.{module}').__doc__ or '').splitlines()[0]}")
    epilog = "\n".join(["subcommands:", *lines, "", "cropkt library SUBCOMMAND --help explains one and its flags."])
    parser = Parser(__doc__ or "", prog="cropkt library", epilog=epilog)
    parser.add_argument("subcommand", metavar="SUBCOMMAND", choices=SUBCOMMANDS, nargs="?")
    parser.parse_args(given)
    parser.print_help()
    return DONE
