"""The `cropkt` command: a table of subcommands, each of which parses its flags and calls what does the work."""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cropkt
from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser
from cropkt.experiments.journal import Voice, journal

COMMANDS = {
    "init": "studies.init",
    "check": "studies.check",
    "plan": "studies.plan",
    "sweep": "sweep",
    "train": "train",
    "route": "route",
    "factors": "factors",
    "predict": "predict",
    "library": "library",
    "attention": "attention",
    "report": "report",
    "log": "log",
    "curve": "curve",
    "recommend": "recommend",
    "simulate": "studies.simulate",
    "pack": "studies.pack",
    "build-tcga": "studies.build_tcga",
    "benchmark": "benchmark",
    "check-significance": "checks.significance",
    "check-factors": "checks.factors",
    "check-routing": "checks.routing",
    "check-borrowing": "checks.borrowing",
}
"""Name of each subcommand, and its module here; the module's first line is its help."""
_VOICE = {"--quiet": "quiet", "--verbose": "verbose", "--json": "json"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in COMMANDS:
        return run_command(lambda: _no_command(given))
    return run_command(lambda: _command(given))


def _command(given: Sequence[str]) -> int:
    if sys.platform == "win32":
        raise ConfigError("cropkt runs on Linux and macOS; on Windows run it in WSL2, which is a Linux")
    module = _module(given[0])
    # A command whose result is JSON (OWN_JSON) has a --json of its own.
    heard = {flag for flag in _VOICE if flag in given[1:]} - ({"--json"} if hasattr(module, "OWN_JSON") else set())
    if {"--quiet", "--verbose"} <= heard:
        raise ConfigError("--quiet and --verbose exclude each other")
    rest = [word for word in given[1:] if word not in heard]
    with journal(["cropkt", *given], Voice(**{_VOICE[flag]: True for flag in heard})) as kept:
        kept.code = run_command(lambda: int(module.main(rest)))
    return kept.code


def _no_command(given: Sequence[str]) -> int:
    lines = [f"  {name:20s}{_first_line(name)}" for name in COMMANDS]
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


def _first_line(name: str) -> str:
    """The first line of a command's module, read without importing what the module needs."""
    found = find_spec(f"{__name__}.{COMMANDS[name]}")
    assert found is not None
    assert found.origin is not None
    return (ast.get_docstring(ast.parse(Path(found.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _module(name: str) -> ModuleType:
    return import_module(f"{__name__}.{COMMANDS[name]}")
