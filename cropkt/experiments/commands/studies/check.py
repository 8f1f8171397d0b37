"""Say what is in a study and what may be wrong with it, before a run takes hours.

By cohort: patients, events, follow-up, slides, patches, slides that cannot be used by reason, folds. Then what may be
wrong, and the machine. Every run prints the short form of it.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, codes

EPILOG = """
Exit code: 0 the study opens (what may be wrong is listed), 2 it does not (one message says all that is wrong).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        chosen = _parser().parse_args(arguments)
        from cropkt.data.study import open_study
        from cropkt.experiments.machine import this_machine
        from cropkt.experiments.machine import told as machine_told
        from cropkt.front.doctor import check_study, told

        study = open_study(chosen.study, encoder=chosen.encoder, cohorts=chosen.cohorts or None, report=_reading())
        check, machine = check_study(study, deep=chosen.deep, report=_reading("slides")), this_machine(chosen.study)
        if chosen.json:
            print(json.dumps({"study": asdict(check), "machine": asdict(machine)}, indent=1))
        else:
            print("\n".join([*told(check), "", *machine_told(machine)]))
        return DONE

    return run_command(command)


def _reading(of: str = "bytes") -> "_Progress | None":
    return _Progress(of) if sys.stderr.isatty() else None


class _Progress:
    """A line on the terminal that says how much has been read."""

    def __init__(self, of: str) -> None:
        self._of = of

    def __call__(self, done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\rread {done:,} of {total:,} {self._of}", end=end, file=sys.stderr, flush=True)


def _parser() -> Parser:
    parser = Parser(__doc__ or "", epilog=EPILOG, prog="cropkt check")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder")
    parser.add_argument("--encoder", metavar="NAME", help="which of the study's encoders (default: its first)")
    parser.add_argument("--cohorts", type=codes, default=(), metavar="A,B", help="only these cohorts (default: all)")
    parser.add_argument("--deep", action="store_true", help="read every row of every slide, as a run does")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser
