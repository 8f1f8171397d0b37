"""A library of cohorts' summaries, to borrow from without their patients: export a study's, add one's own, show it."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, codes

EPILOG = """
A library is a folder: axes.safetensors, and for each cohort moments/ and summaries/CODE.safetensors. No file holds a
patient, a time or an outcome; they are sums over patients, and not anonymised by noise (docs/borrowing.md).

export: a new library from a study; its cohorts' moments make the axes. add: a hospital that has the library adds its
own summary on the same axes, and sends that one file: together they are as if all patients had been in one place.
Mean features are kept in the results folder, so that slides are read once.

  cropkt library summaries export --library tcga/ --study /data/uni2h --out runs/uni2h
  cropkt library summaries add --library tcga/ --study /data/ours --out runs/ours --cohorts mine
  cropkt library summaries show --library tcga/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt library summaries", epilog=EPILOG)
        parser.add_argument("action", choices=("export", "add", "show"), help="what to do")
        parser.add_argument("--library", type=Path, required=True, metavar="DIR", help="the library's folder")
        parser.add_argument("--study", type=Path, metavar="DIR", help="study whose cohorts are summarised")
        parser.add_argument("--encoder", help="which of the study's encoders (default: its first)")
        parser.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: runs/<study>)")
        parser.add_argument("--cohorts", type=codes, default=(), metavar="A,B", help="which cohorts (default: all)")
        chosen = parser.parse_args(arguments)
        if chosen.action != "show":
            _write(chosen)
        _show(chosen.library)
        return DONE

    return run_command(command)


def _write(chosen: Namespace) -> None:
    from cropkt.borrowing.library import Library
    from cropkt.borrowing.means import means_of, means_path, with_outcomes
    from cropkt.data.study import open_study

    if chosen.study is None:
        raise ConfigError(f"{chosen.action} needs --study, the study whose cohorts are summarised")
    library = Library(chosen.library)
    if chosen.action == "export" and library.axes_path.exists():
        raise ConfigError(f"{chosen.library} is a library already; use add, or name another folder")
    study = open_study(chosen.study, encoder=chosen.encoder, cohorts=chosen.cohorts or None)
    out = chosen.out or Path("runs") / study.name
    patients = [
        with_outcomes(cohort, means_of(cohort, means_path(out, study.encoder.name, code)))
        for code, cohort in study.cohorts.items()
    ]
    if chosen.action == "export":
        library.found(patients)
    for cohort in patients:
        library.add(cohort)


def _show(folder: Path) -> None:
    from cropkt.borrowing.library import Library

    library = Library(folder)
    for summary in library.summaries():
        size = library.summary_path(summary.cohort).stat().st_size
        print(f"{summary.cohort:10s} {summary.patients:5d} patients {summary.events:5d} events {size / 1000:6.0f} kB")
