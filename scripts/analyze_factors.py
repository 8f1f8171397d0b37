"""Find out what makes knowledge transfer, from a study and the results of a sweep on it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import run_command
from cropkt.experiments.config import Parser

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

  python scripts/analyze_factors.py --explain sarc
  python scripts/analyze_factors.py --study /data/uni2h --out runs/uni2h --patches 1024
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, metavar="DIR", help="study folder (default: the simulated demo study)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results folder of the sweep (default: runs/<study>)")
    parser.add_argument("--encoder", help="which of the study's encoders (default: its first)")
    parser.add_argument("--architecture", default="abmil", help="whose pairs (default: %(default)s)")
    parser.add_argument("--explain", default="", metavar="A,B", help="cohorts to make a page about, e.g. sarc")
    parser.add_argument("--patches", type=int, default=512, help="patches sampled a cohort (default: %(default)s)")
    parser.add_argument(
        "--components", type=int, default=32, help="principal components of the distances (default: %(default)s)"
    )
    parser.add_argument(
        "--permutations", type=int, default=1999, help="orders of the labels a test draws (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: %(default)s)")
    parser.add_argument(
        "--tracking", action=argparse.BooleanOptionalAction, default=True, help="log to MLflow (default)"
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or store (default: MLFLOW_TRACKING_URI, else sqlite in the results folder)",
    )
    parser.add_argument("--experiment", help="MLflow experiment (default: the sweep's)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        chosen = vars(_parser().parse_args(arguments))
        from cropkt.experiments.factors import FactorsRun, analyse_factors
        from cropkt.factors.facts.tables import FactConfig

        facts = FactConfig(**{name: chosen.pop(name) for name in ("seed", "patches", "components")})
        codes = chosen.pop("explain").split(",")
        explain = tuple(dict.fromkeys(code.strip().lower() for code in codes if code.strip()))
        return analyse_factors(FactorsRun(**chosen, facts=facts, explain=explain))

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
