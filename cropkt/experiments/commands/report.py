"""Make report.html again from a results folder, as after a change of the page. Nothing is measured."""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 written, 2 the folder does not hold what a report is made of."""
    parser = Parser(__doc__ or "", prog="cropkt report")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results folder of a sweep")
    parser.add_argument("--encoder", help="needed where the folder holds the results of several")
    parser.add_argument("--architecture", help="needed where the folder holds the results of several")
    chosen = parser.parse_args(arguments)

    def command() -> int:
        from cropkt.report.page import remake_report
        from cropkt.report.read import choose_results

        print(remake_report(choose_results(chosen.out, chosen.encoder, chosen.architecture)))
        return DONE

    return run_command(command)
