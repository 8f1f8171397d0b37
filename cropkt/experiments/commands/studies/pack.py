"""Pack a study's features: each cohort's slides in few large files, which are read by memory map without a copy.

A pack holds the features in one type of number, the coordinates, and what each slide was made from. A study runs from
its pack, from its files, or from both. At equal precision the results are equal, and no result is made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cropkt.data.packs import DTYPES
from cropkt.errors import ConfigError, refuse_unknown
from cropkt.experiments.command import DONE, SOME_FAILED, run_command
from cropkt.experiments.config import codes, command_line, parse, setting
from cropkt.experiments.progress import stage

if TYPE_CHECKING:
    from cropkt.data.study import Study

EPILOG = """
The same command again keeps the files that are whole; --verify reads every packed byte, and holds the study's files
against what was packed. Where FOLDER is not the study's packs/ENCODER, name it in study.yaml:
  encoders: {uni2-h: {dim: 1536, features: ..., pack: FOLDER}}

Exit code: 0 done, 1 slides that could not be packed, or a pack that is damaged (they are listed), 2 the input is wrong.
"""


@dataclass(frozen=True)
class PackConfig:
    """What a person asked for."""

    folder: Path | None = setting(None, "study folder", flag="study", read=Path, metavar="DIR", required=True)
    to: Path | None = setting(
        None,
        "folder of the pack",
        read=Path,
        metavar="FOLDER",
        unset="packs/ENCODER in the study, or `pack` of study.yaml",
    )
    encoder: str | None = setting(None, "which of the study's encoders", read=str, unset="its first")
    cohorts: tuple[str, ...] = setting((), "cohorts to pack, e.g. BRCA,acc", read=codes, metavar="A,B", unset="all")
    dtype: str = setting("bfloat16", "type of the packed numbers", choices=DTYPES)
    workers: int = setting(0, "processes", unset="one per CPU core")
    verify: bool = setting(False, "do not pack: check what is packed")

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers is {self.workers}; it must be 1 or more, or 0 for one per CPU core")
        refuse_unknown("--dtype", self.dtype, list(DTYPES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""

    def command() -> int:
        parser = command_line(PackConfig, __doc__ or "", epilog=EPILOG, prog="cropkt pack")
        config = parse(PackConfig, parser, arguments)
        assert config.folder is not None  # required
        from cropkt.data.study import open_study, pack_folder

        # Files are what is packed and, where they are still there, what a pack is held against.
        selected = list(config.cohorts) or None
        study = open_study(config.folder, encoder=config.encoder, cohorts=selected, packed=config.verify)
        for warning in study.warnings:
            print(f"warning: {warning}")
        to = config.to or pack_folder(config.folder, study.encoder)
        return _verify(config, study, to) if config.verify else _pack(config, study, to)

    return run_command(command)


def _pack(config: PackConfig, study: "Study", to: Path) -> int:
    from joblib import cpu_count  # type: ignore[import-untyped]

    from cropkt.data.packs.write import pack_cohorts
    from cropkt.data.slide_files.digests import digest_cache

    with stage("pack", 0, "files") as line:
        packed = pack_cohorts(
            list(study.cohorts.values()),
            to,
            dtype=config.dtype,
            workers=config.workers or cpu_count(),
            cache=digest_cache(study.folder),
            report=line.reach,
        )
    slides = [slide for of_cohort in packed.values() for slide in of_cohort]
    bad = [slide for slide in slides if slide.fault]
    files = len({slide.file for slide in slides if slide.file})
    print(f"{len(slides) - len(bad)} slides of {len(packed)} cohorts packed as {config.dtype} in {files} files: {to}")
    for slide in bad:
        print(f"not packed: slide {slide.slide}, patient {slide.patient}: {slide.reason}")
    return SOME_FAILED if bad else DONE


def _verify(config: PackConfig, study: "Study", to: Path) -> int:
    from cropkt.data.packs.verify import verify_pack
    from cropkt.data.slide_files.digests import digest_cache, slide_digests
    from cropkt.data.study import open_study
    from cropkt.errors import StudyError

    try:
        study = open_study(config.folder or "", encoder=config.encoder, cohorts=list(study.cohorts), packed=False)
        tables = {code: cohort.slides for code, cohort in study.cohorts.items()}
        files = {code: dict(zip(of["slide"], of["path"], strict=True)) for code, of in tables.items()}
    except StudyError:
        files = {}
        print("without all of the study's files, the pack is checked by itself")
    found = []
    with stage("verify", 0, "slides") as line:
        for code in study.cohorts:
            paths = files.get(code, {})
            contents = slide_digests(paths.values(), digest_cache(study.folder))
            found += verify_pack(to / code, {slide: contents[path] for slide, path in paths.items()}, line.reach)
    print("\n".join(found) if found else f"all is well: {to}")
    return SOME_FAILED if found else DONE
