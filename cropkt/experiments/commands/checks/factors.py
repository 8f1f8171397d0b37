"""Check the factor tests: their size where nothing transfers, and what they find where something was planted."""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser

EPILOG = """
size: simulated matrices without transfer; the share in which each test finds a factor should be 5 %%.
power: simulated matrices of 26 cohorts with planted group, distance and source effects, and two irrelevant factors.
controls: a measured sweep, analysed by cropkt factors; its irrelevant factors are drawn again and again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = Parser(__doc__ or "", prog="cropkt check-factors", epilog=EPILOG.replace("%%", "%"))
    parser.add_argument("what", choices=("size", "power", "controls"))
    parser.add_argument("--matrices", type=int, default=200, help="size: matrices a design (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="power, controls: draws (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="controls: results folder")
    parser.add_argument("--encoder", default="simulated", help="controls: whose pairs (default: %(default)s)")
    parser.add_argument("--architecture", default="abmil", help="controls: whose pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: %(default)s)")
    chosen = parser.parse_args(arguments)

    def command() -> int:
        from cropkt.factors.size_and_power import power_table, size_table

        if chosen.what == "size":
            table = size_table(chosen.matrices, chosen.seed)
        elif chosen.what == "power":
            table = power_table(chosen.seeds, chosen.seed)
        else:
            from cropkt.experiments.factors import check_controls

            table = check_controls(chosen.out, chosen.encoder, chosen.architecture, chosen.seeds, chosen.seed)
        print(table.to_string(index=False, float_format="%.3f"))
        return DONE

    return run_command(command)
