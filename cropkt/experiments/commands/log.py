"""Bring MLflow up to date with a results folder: for a store that was down, or another one. Logs nothing twice."""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import run_command
from cropkt.experiments.config import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 logged, 1 the store could not be used, 2 there is nothing to log."""
    parser = Parser(__doc__ or "", prog="cropkt log")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results folder of a sweep")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="default: MLFLOW_TRACKING_URI, else sqlite in the results folder",
    )
    parser.add_argument("--experiment", help="MLflow experiment (default: the one that the sweep logged to)")
    chosen = parser.parse_args(arguments)

    def command() -> int:
        from cropkt.experiments.tracking.sweep import log_results

        return log_results(chosen.out.resolve(), chosen.experiment, uri=chosen.tracking_uri)

    return run_command(command)
