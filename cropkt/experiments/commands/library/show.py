"""Say what a library holds: encoder, sources, the cohorts that their risks can be read in."""

from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 there is no whole library."""

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt library show")
        parser.add_argument("folder", type=Path, metavar="FOLDER", help="a library")
        chosen = parser.parse_args(arguments)
        from cropkt.portable.bundle import open_library
        from cropkt.portable.card import summary

        print(summary(open_library(chosen.folder).config))
        return DONE

    return run_command(command)
