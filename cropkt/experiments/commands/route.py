"""Tune ROUPKT, a router over off-the-shelf source models, for a target cohort, and compare it with its alternatives."""

from collections.abc import Sequence

from cropkt.experiments.command import run_command
from cropkt.experiments.config import command_line, parse
from cropkt.experiments.routing.config import RoutingConfig

EPILOG = """
Source models and pairs that are missing are made first (see cropkt sweep). For each of the target's folds settings
are searched for on inner splits of its training patients (Ray Tune, Optuna, successive halving), then every method is
fitted once and asked about the test patients once. docs/routing.md explains how nothing leaks.

Writes to the results folder: routing.parquet (a row per target and method: C-index, interval, difference to the own
model with p), gates.parquet (a row per patient and expert), routing/ (searches, predictions, routers),
pictures, the report.

--no-resume searches and fits again; source models and pairs stay as they are.

Exit code: 0 done, 1 finished but something failed (it is listed), 2 the input is wrong (one message says what).

  cropkt route --target ACC
  cropkt route --target uvm,meso --trials 50 --timeout 3600
  cropkt route --target ACC --tune router,fusion --space router=my_router.yaml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(RoutingConfig, __doc__ or "", epilog=EPILOG, prog="cropkt route")
        config = parse(RoutingConfig, parser, arguments)
        from cropkt.experiments.routing.driver import tune_router

        return tune_router(config)

    return run_command(command)
