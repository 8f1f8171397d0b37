"""A look into some of the feature files: their width, the encoder they name, and how many are bad."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cropkt.data.slide_files.features import FeatureFileError, encoder_named_in, header

SAMPLED = 40
"""Files looked into, spread over all: enough to see a second width or encoder that a tenth of the files has."""


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
