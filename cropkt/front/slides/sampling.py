"""A look into some of the feature files: their width, the encoder they name, and how many are bad."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cropkt.data.slide_files.features import FeatureFileError, encoder_named_in, header

SAMPLED = 40
"""Files looked into, spread over all: enough to see a second width or encoder that a tenth of the files has."""
SAME_ENCODER = (
    frozenset(["uni2h", "univ2", "uni2", "mahmooduni2"]),
    frozenset(["uni", "univ1", "mahmooduni"]),
    frozenset(["conch", "conchv1", "mahmoodconch"]),
    frozenset(["conchv15", "conch15", "mahmoodconchv15"]),
    frozenset(["virchow2", "virchowv2"]),
    frozenset(["gigapath", "provgigapath"]),
    frozenset(["ctranspath", "ctp", "xiyuewangctranspath"]),
    frozenset(["hoptimus0", "hoptimus", "bioptimushoptimus0"]),
)
"""Names that TRIDENT, STAMP, Hugging Face and papers give one encoder, letters and digits alone."""


@dataclass(frozen=True)
class Sample:
    """Of the files looked into: how many have each width, how many name each encoder, and how many are bad."""

    looked_into: int
    widths: Counter[int]
    encoders: Counter[str]
    bad: int


def look_into(files: Sequence[str], most: int | None = SAMPLED) -> Sample:
    """Look into at most `most` of `files` (None: all), spread evenly, without reading any features."""
    step = 1.0 if most is None else max(1.0, len(files) / most)
    chosen = [files[int(number * step)] for number in range(int(len(files) / step))]
    widths: Counter[int] = Counter()
    encoders: Counter[str] = Counter()
    bad = 0
    for file in chosen:
        try:
            widths[header(file)[1]] += 1
            encoders.update(filter(None, [encoder_named_in(file)]))
        except FeatureFileError:
            bad += 1
    return Sample(len(chosen), widths, encoders, bad)


def same_encoder(one: str, other: str) -> bool:
    """Do two names mean one encoder? Case, marks and the owner on Hugging Face do not count, nor a hash at the end."""
    ours, theirs = _plain(one), _plain(other)
    return ours == theirs or any(ours in names and theirs in names for names in SAME_ENCODER)


def _plain(name: str) -> str:
    name = re.sub(r"-[0-9a-f]{8}$", "", name.casefold().rsplit("/", 1)[-1])
    return re.sub(r"[^a-z0-9]", "", name)
