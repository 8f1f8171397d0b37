"""Bags that are read whenever they are walked: one portion in use, one waiting, one being read, and nothing else.

A cohort that does not fit in its budget of memory is walked like one that does (`tiles`), with the same numbers: whole
bags are the very same tiles, and a bag that is cut is put together again by what reads its parts.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
import torch

from cropkt.data.bags import (
    Bags,
    NoBagError,
    SlideRow,
    leave_out,
    no_bag_left,
    places_of,
    read_rows,
    read_slide,
    slide_rows,
)
from cropkt.data.slide_files.features import FeatureFileError, read_parts
from cropkt.data.slide_files.slide_faults import SkippedSlide
from cropkt.data.streams.memory import size_in_words
from cropkt.data.streams.tiles import BagChangedError, LongBag, read_ahead, runs_of_bags
from cropkt.data.study import Cohort
from cropkt.errors import StudyError

PORTIONS = 6
"""Tiles and parts that a walk may hold at once: three of each (in use, waiting, being read)."""
FEWEST_PATCHES = 256
"""A smaller tile would spend its time on being small."""


@dataclass(frozen=True)
class BagFacts:
    """What is kept of B bags when they have gone by: patients, lengths (B,) int64, means (B, D) float32, and the slides
    that were left out."""

    patients: tuple[str, ...]
    lengths: torch.Tensor
    means: torch.Tensor
    skipped: tuple[SkippedSlide, ...]


@dataclass
class _Walk:
    """What a walk has found so far: by place among the patients, the bag's patient, length and mean; bad slides."""

    found: dict[int, tuple[str, int, torch.Tensor]] = field(default_factory=dict)
    skipped: dict[str, SkippedSlide] = field(default_factory=dict)

    def facts(self, slides: Sequence[SlideRow], width: int) -> BagFacts:
        bags = [self.found[place] for place in sorted(self.found)]
        return BagFacts(
            tuple(patient for patient, *_ in bags),
            torch.tensor([length for _, length, _ in bags], dtype=torch.int64),
            torch.stack([mean for *_, mean in bags]) if bags else torch.empty(0, width),
            tuple(self.skipped[path] for _, _, path, _ in slides if path in self.skipped),
        )


class NoBagLeftError(NoBagError):
    """No slide of a stream can be used; `facts` has them all among its skipped ones."""

    def __init__(self, reason: str, facts: BagFacts) -> None:
        super().__init__(reason)
        self.facts = facts


class BagStream:
    """The bags of `slides` (rows of one patient after the other), D = `width`, in tiles of `dtype` on `device`.

    `memory`: bytes that patches may fill; tiles are made small enough, or None for no limit. A bad slide is left out
    without a warning and listed in `skipped`; with `strict` it is a StudyError. Patients, lengths, means and skipped
    slides are known once the bags have been walked to the end (or given as `facts`); asked for earlier, they cost a
    walk, as a slide shows only when it is read whether it is good. No bag at all is a StudyError.
    """

    def __init__(
        self,
        code: str,
        slides: Sequence[SlideRow],
        width: int,
        dtype: torch.dtype,
        *,
        device: torch.device | str = "cpu",
        memory: int | None = None,
        strict: bool = False,
        facts: BagFacts | None = None,
    ) -> None:
        self._cohort, self._slides, self._width, self._dtype = code, list(slides), width, dtype
        self._device, self._memory, self._strict = torch.device(device), memory, strict
        self._facts = facts

    @property
    def facts(self) -> BagFacts:
        """What is known of the bags, by a walk if there has been none."""
        if self._facts is None:
            with torch.inference_mode():
                for tile in self.tiles(2**14, 2**14):
                    if isinstance(tile, LongBag):
                        walk_through(tile)
        assert self._facts is not None  # a walk to the end has set it
        return self._facts

    @property
    def patients(self) -> tuple[str, ...]:
        """(B,): bag b belongs to patients[b]."""
        return self.facts.patients

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) int64: patches of each bag."""
        return self.facts.lengths

    @property
    def skipped(self) -> tuple[SkippedSlide, ...]:
        """Slides left out."""
        return self.facts.skipped

    @property
    def device(self) -> torch.device:
        """Where tiles are."""
        return self._device

    def __len__(self) -> int:
        return len(self.patients)

    def indices_of(self, patients: Sequence[str]) -> np.ndarray:
        """(n,) int64: the bags of `patients`, in their order; patients without a bag are left out."""
        return places_of(patients, self.patients)

    def means(self) -> torch.Tensor:
        """(B, D) float32: the mean patch of each bag."""
        return self.facts.means

    @property
    def longest(self) -> int:
        """Patches of the longest bag, as the headers say."""
        return max(sum(patches for *_, patches in slides) for slides in self._by_patient())

    def require_room(self, need: int, what: str) -> None:
        """Raise StudyError where there is a budget and `what` needs more bytes than it."""
        if self._memory is not None and need > self._memory:
            raise StudyError(
                f"{self._cohort}: {what} needs {size_in_words(need)} of memory and may fill "
                f"{size_in_words(self._memory)}; raise --memory, use fewer --workers, or leave the slide out"
            )

    def tiles(self, n_patches: int, longest: int | None) -> Iterator[Bags | LongBag]:
        """Every bag once, in order, in tiles of about `n_patches` patches, read ahead by another thread.

        A bag of more than `longest` comes in parts, which have to be walked before the next tile is taken; with None
        every bag comes whole. Both are lowered where the budget says so.
        """
        if longest is not None:
            longest = min(longest, self._most())
            n_patches = min(n_patches, longest)
        n_patches = min(n_patches, self._most())
        walk = _Walk()
        with closing(read_ahead(self._read_tiles(walk, n_patches, longest))) as tiles:
            for tile in tiles:
                if isinstance(tile, LongBag) or len(tile):
                    yield tile if isinstance(tile, LongBag) else tile.to(self._device)
        facts = walk.facts(self._slides, self._width)
        if not facts.patients:
            raise NoBagLeftError(str(no_bag_left(self._cohort, len(self._slides))), facts)
        self._facts = facts

    def _most(self) -> int:
        """Patches of the largest tile that the budget allows."""
        if self._memory is None:
            return 2**62
        return max(FEWEST_PATCHES, self._memory // (PORTIONS * self._width * self._dtype.itemsize))

    def _by_patient(self) -> list[list[SlideRow]]:
        return [list(rows) for _, rows in groupby(self._slides, key=lambda row: row[0])]

    def _read_tiles(self, walk: _Walk, n_patches: int, longest: int | None) -> Iterator[Bags | LongBag]:
        bags = self._by_patient()
        lengths = [sum(patches for *_, patches in slides) for slides in bags]
        for run in runs_of_bags(lengths, n_patches):
            if longest is not None and lengths[run.start] > longest:
                slides = bags[run.start]
                yield LongBag(slides[0][0], partial(self._parts, walk, run.start, slides, longest))
            else:
                yield self._read_whole(walk, run, [row for bag in run for row in bags[bag]])

    def _read_whole(self, walk: _Walk, run: range, slides: Sequence[SlideRow]) -> Bags:
        bags = read_rows(self._cohort, slides, self._width, self._dtype, strict=self._strict, warn=False)
        walk.skipped |= {slide.path: slide for slide in bags.skipped}
        if len(bags):
            means, lengths = bags.means(), bags.lengths.tolist()
            for number, patient in enumerate(bags.patients):
                walk.found[run.start + number] = (patient, lengths[number], means[number])
        return bags

    def _parts(self, walk: _Walk, place: int, slides: Sequence[SlideRow], n_rows: int) -> Iterator[torch.Tensor]:
        """The parts of one long bag. What the walk has found of it is true when it is walked to its end."""
        walk.found.pop(place, None)
        with closing(read_ahead(self._read_parts(walk, place, slides, n_rows))) as parts:
            for part in parts:
                yield part.to(self._device)

    def _read_parts(self, walk: _Walk, place: int, slides: Sequence[SlideRow], n_rows: int) -> Iterator[torch.Tensor]:
        total, length = torch.zeros(self._width, dtype=torch.float64), 0
        for row in slides:
            begun = False
            if row[2] in walk.skipped:
                continue
            try:
                for part in self._of_slide(row, n_rows):
                    begun = True
                    total += part.float().sum(dim=0, dtype=torch.float64)
                    length += len(part)
                    yield part
                    del part
            except FeatureFileError as error:
                patient, slide, path, _ = row
                bad = SkippedSlide(self._cohort, slide, patient, path, error.fault, str(error), error.passing)
                walk.skipped[path] = leave_out(bad, strict=self._strict, warn=False)
                if begun:
                    raise BagChangedError from error
        if length:
            walk.found[place] = (slides[0][0], length, (total / length).float())

    def _of_slide(self, row: SlideRow, n_rows: int) -> Iterator[torch.Tensor]:
        _, _, path, patches = row
        if not patches:
            read_slide(path, torch.empty(0, self._width))  # raises, with what is wrong with it
        return read_parts(path, (patches, self._width), self._dtype, n_rows)


def walk_through(bag: LongBag) -> int:
    """Walk `bag` to its end, again where a slide was bad; returns its patches."""
    while True:
        try:
            return sum(len(part) for part in bag.parts())
        except BagChangedError:
            continue


def stream_bags(
    cohort: Cohort,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    memory: int | None = None,
    strict: bool = False,
) -> BagStream:
    """The bags of `cohort`, to be read when they are walked (see BagStream)."""
    slides = slide_rows(cohort)
    return BagStream(cohort.code, slides, cohort.encoder.dim, dtype, device=device, memory=memory, strict=strict)


def resident_bytes(cohort: Cohort, dtype: torch.dtype) -> int:
    """Bytes that the patches of `cohort` fill when all of them are held."""
    return int(cohort.slides["patches"].sum()) * cohort.encoder.dim * dtype.itemsize
