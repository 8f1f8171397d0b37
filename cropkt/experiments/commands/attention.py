"""Show where models look on slides: attention by patch for QuPath, as tables and as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cropkt.errors import ConfigError, InputError
from cropkt.experiments.command import DONE, SOME_FAILED, run_command
from cropkt.experiments.config import Parser, codes

if TYPE_CHECKING:
    import argparse

    from cropkt.models.mil import MILModel

EPILOG = """
Writes a folder per slide: attention.png (.pdf, .svg), SOURCE.geojson for QuPath, attention.h5 with the coordinates,
top_patches.csv, and with several sources overlap.csv and overlap.png. docs/attention.md explains them.

  cropkt attention --library libraries/demo --source gbmlgg,acc --slide new_slides/P-7.h5 --to looks
  cropkt attention --out runs/uni2h --source brca --fold 0 --slide /data/h5/*.h5 --image /data/svs --to looks
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 some slides could not be looked at (they are named), 2 the input is wrong."""

    def command() -> int:
        chosen = _parser().parse_args(arguments)
        if (chosen.library is None) == (chosen.out is None):
            raise ConfigError("name the models by --library FOLDER or by --out OUT, one of them")
        if chosen.top < 1 or (chosen.patch_size is not None and not chosen.patch_size > 0):
            raise ConfigError("--top and --patch-size are 1 or more")
        from cropkt.attention.one_slide import Wanted, show_slide

        models = _models(chosen)
        wanted = Wanted(chosen.to, chosen.image, chosen.patch_size, chosen.microns_per_pixel, chosen.top)
        failed = []
        for path in chosen.slide:
            try:
                print(show_slide(path, models, wanted))
            except InputError as error:
                failed.append(f"{path}: {error}")
        if len(failed) == len(chosen.slide):
            raise InputError("\n".join(failed))
        for line in failed:
            print(f"left out: {line}")
        return SOME_FAILED if failed else DONE

    return run_command(command)


def _parser() -> Parser:
    parser = Parser(__doc__ or "", prog="cropkt attention", epilog=EPILOG)
    parser.add_argument("--slide", type=Path, nargs="+", required=True, metavar="FILE", help="feature files")
    parser.add_argument("--library", type=Path, metavar="FOLDER", help="models of a library, or")
    parser.add_argument("--out", type=Path, metavar="DIR", help="those of a sweep's results folder")
    parser.add_argument("--source", type=codes, required=True, metavar="A,B", help="whose models; several are compared")
    parser.add_argument("--fold", type=int, help="one fold's model (default: the mean of all)")
    parser.add_argument("--encoder", help="with --out, where it holds the results of several")
    parser.add_argument("--architecture", help="with --out, where it holds the results of several")
    parser.add_argument("--to", type=Path, default=Path("attention"), metavar="DIR", help="default: attention")
    parser.add_argument("--image", type=Path, metavar="PATH", help="the slide, or a folder of slides, to draw over")
    parser.add_argument("--patch-size", type=float, help="edge of a patch (default: from the file, else their spacing)")
    parser.add_argument("--microns-per-pixel", type=float, help="at full resolution (default: from the slide's image)")
    parser.add_argument("--top", type=int, default=20, help="patches to list for each source (default: 20)")
    return parser


def _models(chosen: "argparse.Namespace") -> "dict[str, list[MILModel]]":
    """Of each source, one fold's or all."""
    if not chosen.source:
        raise ConfigError("--source all is too many to look at; name some")
    if chosen.library is not None:
        from cropkt.portable.bundle import open_library

        library = open_library(chosen.library)
        folds = {source: library.folds(source) for source in chosen.source}
        found = {source: library.models(source) for source in chosen.source}
    else:
        from cropkt.models.checkpoint import load_model
        from cropkt.report.read import choose_results

        stored = choose_results(chosen.out, chosen.encoder, chosen.architecture).models
        paths = {source: stored.of(source) for source in chosen.source}
        if missing := [source for source, of_source in paths.items() if not of_source]:
            raise ConfigError(f"--source: no models of {missing[0]} in {stored.path}; there are {stored.cohorts()}")
        folds = {source: tuple(int(path.stem.split("_")[1]) for path in of) for source, of in paths.items()}
        found = {source: [load_model(path) for path in of_source] for source, of_source in paths.items()}
    if chosen.fold is None:
        return found
    if lacking := [source for source, known in folds.items() if chosen.fold not in known]:
        raise ConfigError(f"--fold {chosen.fold}: {lacking[0]} has folds {', '.join(map(str, folds[lacking[0]]))}")
    return {source: [found[source][list(known).index(chosen.fold)]] for source, known in folds.items()}
