"""The encoders of a study: each source of features with its name, its width and the patterns of study.yaml."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cropkt.data.slide_files.features import FeatureFileError, header
from cropkt.data.study_yaml.schema import NAME_IN_WORDS
from cropkt.errors import StudyError
from cropkt.front.choosing import Chooser, Reading
from cropkt.front.slides.encoder_names import same_encoder
from cropkt.front.slides.layouts import FeatureSource, FoundFeatures
from cropkt.front.slides.sampling import Sample, look_into


@dataclass(frozen=True)
class FoundEncoder:
    """An encoder: `dim` wide, its files' `patterns` for study.yaml and their `slides`; `lines` tell what was found."""

    name: str
    dim: int
    patterns: tuple[str, ...]
    slides: tuple[str, ...]
    lines: tuple[str, ...]


def find_encoders(found: FoundFeatures, root: Path, out: Path, chooser: Chooser) -> list[FoundEncoder]:
    """The encoders of the sources `found` under `root`, for the study in `out`, the one with most files first.

    Raises StudyError where a source has no file that can be read, or two widths.
    """
    encoders: dict[str, FoundEncoder] = {}
    grids = _names_with_several_grids(found.sources)
    for source in found.sources:
        sample = look_into(source.files)
        dim = _width(source, sample, chooser)
        name, why = _name(source, sample, dim, chooser if len(found.sources) == 1 else None)
        name = f"{name}-{source.grid}" if source.encoder in grids else name
        patterns = tuple(_in_study(root, out, pattern) for pattern in source.patterns)
        encoder = FoundEncoder(name, dim, patterns, tuple(source.slides), tuple(_lines(source, sample, name, dim, why)))
        encoders[name] = _joined(encoders[name], encoder) if name in encoders else encoder
    return _wanted(list(encoders.values()), chooser)


def _names_with_several_grids(sources: Sequence[FeatureSource]) -> set[str]:
    grids: dict[str, set[str]] = {}
    for source in sources:
        grids.setdefault(source.encoder, set()).add(source.grid)
    return {name for name, several in grids.items() if name and len(several) > 1}


def _width(origin: FeatureSource, sample: Sample, chooser: Chooser) -> int:
    if not sample.widths:
        try:
            header(origin.files[0])
            reason = ""
        except FeatureFileError as error:
            reason = f"; {origin.files[0]} {error}"
        raise StudyError(f"none of {sample.looked_into} files {origin.patterns[0]} can be read as features{reason}")
    readings = [
        Reading(width, str(width), f"{count} of {sample.looked_into} files looked into")
        for width, count in sample.widths.most_common()
    ]
    width: int = chooser.choose(f"the width of {origin.patterns[0]}", "dim", readings).value
    return width


def _name(origin: FeatureSource, sample: Sample, dim: int, chooser: Chooser | None) -> tuple[str, str]:
    """The encoder's name, and where it is from."""
    if chooser is not None and (given := chooser.flag("encoder")) is not None:
        return str(given), "--encoder says so"
    if origin.encoder:
        return origin.encoder, "the folder's name"
    if sample.encoders:
        name = sample.encoders.most_common(1)[0][0]
        plain = "".join(mark if mark.isalnum() or mark in "._-" else "-" for mark in name.rsplit("/", 1)[-1])
        return plain.strip("-.")[:64], "named in the files"
    return f"{origin.layout.name}-{dim}", "no file names the encoder: --encoder NAME calls it otherwise"


def _lines(origin: FeatureSource, sample: Sample, name: str, dim: int, why: str) -> list[str]:
    bad = f", {sample.bad} of {sample.looked_into} looked into are bad" if sample.bad else ""
    grid = f", {origin.grid}" if origin.grid else ""
    lines = [f"{name} ({why}): {len(origin.files)} {origin.suffix} files, {dim} wide{grid}{bad}; {origin.layout.label}"]
    others = [other for other in sample.encoders if not same_encoder(other, name)]
    if others:
        lines.append(f"{name}: files name another encoder, {', '.join(others[:3])}; `cropkt check` says how many")
    return lines


def _in_study(root: Path, out: Path, pattern: str) -> str:
    """`pattern`, relative to `root`, as study.yaml in `out` writes it: relative where the files lie in the study."""
    path = os.path.relpath(root.resolve(), out.resolve())
    inside = path == "." or not path.startswith("..")
    base = path if inside else str(root.resolve())
    if "*" in pattern and set("*?[") & set(base):
        raise StudyError(f"{base}: a folder's name has one of * ? [ in it; rename it, or link to it by another name")
    return os.path.normpath(os.path.join(base.replace("{", "{{").replace("}", "}}"), pattern))


def _joined(one: FoundEncoder, other: FoundEncoder) -> FoundEncoder:
    """Two sources of one encoder as one. Raises StudyError where their widths differ."""
    if one.dim != other.dim:
        raise StudyError(
            f"encoder {one.name} is {one.dim} wide in {one.patterns[0]} and {other.dim} in {other.patterns[0]}; name "
            "one of the two folders alone"
        )
    return FoundEncoder(
        one.name, one.dim, one.patterns + other.patterns, one.slides + other.slides, one.lines + other.lines
    )


def _wanted(encoders: list[FoundEncoder], chooser: Chooser) -> list[FoundEncoder]:
    """All encoders, or the one that --encoder names."""
    given = chooser.flag("encoder")
    if given is None:
        return encoders
    chosen = [encoder for encoder in encoders if encoder.name.casefold() == str(given).casefold()]
    if not chosen:
        there = ", ".join(encoder.name for encoder in encoders)
        raise StudyError(f"--encoder {given}: there are {there}; name one of them ({NAME_IN_WORDS})")
    return chosen
