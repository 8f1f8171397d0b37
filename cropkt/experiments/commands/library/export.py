"""Pack the source models of a finished run, with what is needed to read their risks, into one folder."""

from collections.abc import Sequence
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, run_command
from cropkt.experiments.config import Parser, codes

EPILOG = """
Reads every slide of the study once, for the mean features that say which slides the models have seen. The folder has
Hugging Face's layout and holds no patient's row; docs/models_that_travel.md says what is in it.

  cropkt library export runs/demo --to libraries/demo
  cropkt library export runs/uni2h --study /data/uni2h --to libraries/uni2h --license cc-by-nc-4.0
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the input is wrong (one message says what)."""

    def command() -> int:
        parser = Parser(__doc__ or "", prog="cropkt library export", epilog=EPILOG)
        parser.add_argument("out", type=Path, metavar="OUT", help="results folder of a finished sweep")
        parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder to write; a new one")
        parser.add_argument(
            "--study", type=Path, metavar="DIR", help="the run's study (default: where it was when OUT was written)"
        )
        parser.add_argument("--sources", type=codes, default=(), metavar="A,B", help="sources to pack (default: all)")
        parser.add_argument("--encoder", help="needed where OUT holds the results of several")
        parser.add_argument("--architecture", help="needed where OUT holds the results of several")
        parser.add_argument(
            "--license", default="other", help="of the weights, by its name on Hugging Face (default: other)"
        )
        parser.add_argument("--license-file", type=Path, metavar="FILE", help="its text (default: none is stated)")
        chosen = parser.parse_args(arguments)
        from cropkt.data.study import open_study
        from cropkt.portable.export import ExportSettings, export_library
        from cropkt.report.read import choose_results
        from cropkt.transfer.current import known_study_folder

        results = choose_results(chosen.out, chosen.encoder, chosen.architecture)
        study = open_study(chosen.study or known_study_folder(chosen.out), encoder=results.encoder)
        settings = ExportSettings(chosen.sources, chosen.license, _text(chosen.license_file))
        library = export_library(results, study, chosen.to, settings)
        size = sum(path.stat().st_size for path in chosen.to.iterdir()) / 1e6
        print(f"{len(library.config.sources)} sources, {size:,.0f} MB: {chosen.to}")
        return DONE

    return run_command(command)


def _text(path: Path | None) -> str:
    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--license-file {path}: cannot be read ({error})") from error
