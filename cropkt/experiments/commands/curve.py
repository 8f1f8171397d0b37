"""Learning curves: what borrowing is worth with few training patients, against everything else on the same draws."""

from collections.abc import Sequence

from cropkt.experiments.borrowing.config import CurveConfig
from cropkt.experiments.command import run_command
from cropkt.experiments.config import command_line, parse

EPILOG = """
For every target, so many training patients are drawn, every method learns from them (and from the other cohorts, where
it borrows), and everybody else is tested. Draws are nested, and the same for all methods. Mean features of all cohorts
are read once and kept. In a simulated study the true C-index is measured beside Harrell's.

Writes curve.parquet (a row per target, draw and method), curve.png, .pdf, .svg; prints means, paired differences with
intervals over targets, and below how many events to borrow. What is measured stays measured: the same command with more
draws, methods or targets does the rest. docs/borrowing.md explains the methods.

Exit code: 0 done, 1 finished but something failed (it is listed), 2 the input is wrong (one message says what).

  cropkt curve --targets uvm,acc --patients 20,40 --draws 5
  cropkt curve --study /data/uni2h --methods borrowed,own_ridge,mean_cox --patients 20,40,80,160,all
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(CurveConfig, (__doc__ or "").strip(), epilog=EPILOG, prog="cropkt curve")
        config = parse(CurveConfig, parser, arguments)
        from cropkt.experiments.borrowing.curve import learning_curves

        return learning_curves(config)

    return run_command(command)
