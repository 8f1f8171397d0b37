"""Measure how well every source cohort's models predict survival in every target cohort."""

from collections.abc import Sequence

from cropkt.experiments.command import run_command
from cropkt.experiments.config import RunConfig, command_line, parse

EPILOG = """
Writes to the results folder: transfer.parquet (a row per source, target, source fold, target fold), pairs.parquet
(a row per pair, with standard error, interval, p and q against chance), transfer_matrix.csv and .png, predictions/,
representations/, models/. Sources without models are trained first. Run it again to go on after a stop.

Exit code: 0 done, 1 finished but some pairs failed (they are listed), 2 the input is wrong (one message says what).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        config = parse(RunConfig, command_line(RunConfig, __doc__ or "", epilog=EPILOG, prog="cropkt sweep"), arguments)
        from cropkt.experiments.sweep.driver import sweep_transfer

        return sweep_transfer(config)

    return run_command(command)
