"""Look at a folder of features and at clinical tables, and write a study: a commented study.yaml.

Finds features as TRIDENT, CLAM, STAMP, raw2features (zarr), the UNI2-h archive and GDC's client lay them out, matches
slides with the tables' rows, and reads columns, unit and coding of events by names and values. Where two readings are
possible it asks, or, without a terminal, says which flag decides.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, words

EPILOG = """
Example: cropkt init trident_output brca_tcga_pan_can_atlas_2018/data_clinical_patient.txt --endpoint DSS --out study

Exit code: 0 the study is written, 2 it is not (one message says why, and which flag decides).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        chosen = vars(_parser().parse_args(arguments))
        from cropkt.front.choosing import Chooser, ask_on_terminal
        from cropkt.front.init import InitOptions, init_study

        features, tables, out = (chosen.pop(name) for name in ("features", "tables", "out"))
        options = InitOptions(chosen.pop("folds"), chosen.pop("patient-rule"))
        ask = ask_on_terminal if sys.stdin.isatty() and sys.stdout.isatty() else None
        print("\n".join(init_study(features, tables, out, Chooser(chosen, ask), options)))
        return DONE

    return run_command(command)


def _parser() -> Parser:
    parser = Parser(__doc__ or "", epilog=EPILOG, prog="cropkt init")
    parser.add_argument("features", type=Path, metavar="FEATURES", help="folder with the slides' feature files")
    parser.add_argument("tables", type=Path, metavar="TABLE", nargs="+", help="clinical tables, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="STUDY", help="the study's folder")
    parser.add_argument("--folds", type=int, default=5, help="cross-validation folds (default: %(default)s)")
    parser.add_argument(
        "--patient-rule",
        dest="patient-rule",
        default="tcga",
        metavar="RULE",
        help='which part of an id is the patient: tcga, "first 8", or a pattern such as {patient}_* (default: tcga, '
        "which leaves other ids as they are)",
    )
    group = parser.add_argument_group("what decides where two readings are possible")
    for flag, metavar, help in (
        ("endpoint", "NAME", "endpoint where tables have several: OS, DSS, PFI, ..."),
        ("time", "COLUMN", "column of time to event or last follow-up"),
        ("start", "COLUMN", "date on which time begins, where tables have dates: of diagnosis, of surgery"),
        ("time-unit", "UNIT", "its unit: days, months or years"),
        ("event", "COLUMN", "column of events"),
        ("patient", "COLUMN", "column of patient ids"),
        ("slide", "COLUMN", "column of slides' names"),
        ("cohort", "NAME", "cohort of the one table, e.g. brca, or a name of your own"),
        ("cohort-column", "COLUMN", "column that divides a table among cohorts"),
        ("encoder", "NAME", "name of the encoder, or which one of several"),
        ("dim", "D", "width of its features, where files have several"),
    ):
        group.add_argument(f"--{flag}", dest=flag, metavar=metavar, help=help)
    for flag, help in (
        ("event-value", "value that means an event; may be given several times"),
        ("censored-value", "value that means censored; may be given several times"),
    ):
        group.add_argument(f"--{flag}", dest=flag, action="append", metavar="VALUE", help=help)
    group.add_argument("--clinical", type=words, metavar="A,B", help="clinical columns to keep for baselines")
    return parser
