"""Find out what makes knowledge transfer, from a study and the results of a sweep on it."""

from collections.abc import Sequence

from cropkt.experiments.command import run_command
from cropkt.experiments.config import FactorsConfig, command_line, parse

EPILOG = """
Facts of cohorts (size, events, restricted mean survival, dispersion, intrinsic dimension, ...) and of pairs (distances
between features, likeness of the models, same organ or group, ...) are set against the C-index of every pair. Tests
permute cohorts' labels, so that cells that share a cohort are not taken for independent facts; docs/factors.md explains
them.

Writes to the results folder:
  factors_cohort.parquet, factors_pair.parquet   the facts, distances with their sampling errors
  regression_factors.csv                         each factor alone: effect, p-values, false discovery rate
  regression_joint.csv                           a few together
  regression_intra_ols.csv, _inter_ols.csv       the published kind of table; also _inter_beta.csv, _inter_mixed.csv
  regression_variance.csv                        the source's, target's, pair's and chance's share
  regression_prediction.csv                      targets left out: is the best source predicted?
  factors_*.png                                  pictures
  report.html                                    again, with a section on factors
  factors_explain_CODE.html, .png                with --explain

Exit code: 0 done, 1 done but MLflow could not be written, 2 the input is wrong (one message says what).

  cropkt factors --explain sarc
  cropkt factors --study /data/uni2h --out runs/uni2h --patches 1024
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(FactorsConfig, __doc__ or "", epilog=EPILOG, prog="cropkt factors")
        config = parse(FactorsConfig, parser, arguments)
        from cropkt.experiments.factors import analyse_factors

        return analyse_factors(config)

    return run_command(command)
