"""Tune ROUPKT, a router over off-the-shelf source models, for a target cohort, and compare it with its alternatives."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cropkt.experiments.command import run_command
from cropkt.experiments.config import codes, command_line, numbers, parse_with

EPILOG = """
Source models and pairs that are missing are made first (see sweep_transfer.py). For each of the target's folds settings
are searched for on inner splits of its training patients (Ray Tune, Optuna, successive halving), then every method is
fitted once and asked about the test patients once. docs/routing.md explains how nothing leaks.

Writes to the results folder: routing.parquet (a row a target and method: C-index, interval, difference to the own model
with p), gates.parquet (a row a patient and expert), routing/ (searches, predictions, routers), pictures, the report.

--no-resume searches and fits again; source models and pairs stay as they are.

Exit code: 0 done, 1 finished but something failed (it is listed), 2 the input is wrong (one message says what).

  python scripts/tune_router.py --target ACC
  python scripts/tune_router.py --target uvm,meso --trials 50 --timeout 3600
  python scripts/tune_router.py --target ACC --tune router,fusion --space router=my_router.yaml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(__doc__ or "", epilog=EPILOG, all_targets=False)
        search = parser.add_argument_group("routing")
        search.add_argument("--target", type=codes, required=True, metavar="A,B", help="target cohorts, or all")
        search.add_argument("--trials", type=int, default=20, help="a search's trials, 0: no search (default: 20)")
        search.add_argument("--timeout", type=float, metavar="SECONDS", help="no new trial after that (default: none)")
        search.add_argument(
            "--tune",
            type=_words,
            default=("router", "fusion"),
            metavar="A,B",
            help="what is searched for: router, fusion, abmil (default: router,fusion)",
        )
        search.add_argument(
            "--space",
            dest="spaces",
            action="append",
            type=_space,
            default=[],
            metavar="KIND=FILE",
            help="another search space than tune_spaces/KIND.yaml",
        )
        search.add_argument(
            "--source-folds",
            type=numbers,
            default=(0,),
            metavar="0,1",
            help="which fold models make a source's expert vector; the mean of several (default: 0, as published)",
        )
        search.add_argument(
            "--inner-folds", type=int, default=3, help="inner splits settings are judged on (default: 3)"
        )
        names = ("target", "tune", "spaces", "trials", "timeout", "source_folds", "inner_folds")
        config, chosen = parse_with(parser, names, arguments)
        from cropkt.experiments.routing.driver import tune_router
        from cropkt.experiments.routing.settings import RoutingRun

        config = replace(config, targets=chosen.pop("target"))
        return tune_router(RoutingRun(config, **{**chosen, "spaces": dict(chosen["spaces"])}))

    return run_command(command)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _space(text: str) -> tuple[str, Path]:
    kind, equals, path = text.partition("=")
    if not (equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=FILE, such as router=my_router.yaml")
    return kind, Path(path)


if __name__ == "__main__":
    sys.exit(main())
