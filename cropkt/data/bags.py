"""Bags: the patches of a cohort's patients, one after the other in one tensor. Every slide is read once."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from cropkt.data.packs.read import mapped_together, require_same_numbers
from cropkt.data.slide_files.features import header, read_features_into
from cropkt.data.slide_files.slide_faults import FeatureFileError, SkippedSlide, SlideFault
from cropkt.data.streams.mapped import let_go, mapped_scratch
from cropkt.data.streams.tiles import LongBag, runs_of_bags
from cropkt.data.study import Cohort
from cropkt.errors import StudyError


@runtime_checkable
class PatientBags(Protocol):
    """A cohort's bags, held in memory (`Bags`) or read whenever they are walked (`BagStream`)."""

    @property
    def patients(self) -> tuple[str, ...]:
        """(B,): bag b belongs to patients[b]."""

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) int64: patches of each bag."""

    @property
    def skipped(self) -> tuple[SkippedSlide, ...]:
        """Slides left out."""

    @property
    def device(self) -> torch.device:
        """Where tiles are."""

    def __len__(self) -> int: ...

    def indices_of(self, patients: Sequence[str]) -> np.ndarray:
        """(n,) int64: the bags of `patients`, in their order; patients without a bag are left out."""

    def means(self) -> torch.Tensor:
        """(B, D) float32: the mean patch of each bag."""

    def tiles(self, n_patches: int, longest: int | None) -> "Iterator[Bags | LongBag]":
        """Every bag once, in order, in tiles of about `n_patches` patches; a bag of more than `longest` in parts."""

    @property
    def longest(self) -> int:
        """Patches of the longest bag."""

    def require_room(self, need: int, what: str) -> None:
        """Raise StudyError where there is a budget and `what` needs more bytes than it."""


MOST_THREADS = 4
"""More read no faster: 1, 2, 4, 8 threads read 2.1, 3.3, 3.5, 2.6 GB/s from a page cache to bfloat16 (16 cores)."""
SlideRow = tuple[str, str, str, int]
"""Patient, slide, path and patches of one slide; 0 patches where its header was bad."""


@dataclass(frozen=True)
class Bags:
    """B bags of P patches with D features in all.

    patients: bag b belongs to patients[b].
    features: (P, D), the patches of all bags, one after the other.
    offsets: (B + 1,) int64; bag b owns rows offsets[b]:offsets[b + 1].
    skipped: slides left out when the cohort was read, each with its kind of fault and the reason in full.
    mapped: whether `features` lie in a file on disk, of which memory holds what has lately been looked at (`release`).
    """

    patients: tuple[str, ...]
    features: Float[torch.Tensor, "P D"]
    offsets: Int64[torch.Tensor, " B1"]
    skipped: tuple[SkippedSlide, ...] = ()
    mapped: bool = False

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def lengths(self) -> torch.Tensor:
        """(B,) int64: patches of each bag."""
        return self.offsets.diff()

    @cached_property
    def _rows(self) -> np.ndarray:
        """`offsets` on the host, so that taking bags on a GPU never waits for it."""
        return self.offsets.cpu().numpy()

    def take(self, indices: Sequence[int] | np.ndarray) -> "Bags":
        """The bags with these indices, in this order, one after the other.

        Bags that follow each other are taken as a view; nothing is copied when all do. Raises IndexError for an index
        that is not in 0 .. B - 1.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise IndexError(f"bags {chosen.min()} to {chosen.max()} asked for; there are {len(self)}")
        runs = np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1) if chosen.size else []
        parts = [self.features[self._rows[run[0]] : self._rows[run[-1] + 1]] for run in runs]
        parts = parts or [self.features[:0]]
        features = parts[0] if len(parts) == 1 else torch.cat(parts)
        lengths = self._rows[chosen + 1] - self._rows[chosen]
        rows = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        patients = tuple(self.patients[bag] for bag in chosen)
        return _bags(patients, features, rows, self.skipped)

    def indices_of(self, patients: Sequence[str]) -> np.ndarray:
        """(n,) int64: the bags of `patients`, in their order; patients without a bag are left out."""
        return places_of(patients, self.patients)

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.features.device

    def means(self) -> torch.Tensor:
        """(B, D) float32: the mean patch of each bag."""
        return torch.stack([self.take([bag]).features.float().mean(dim=0) for bag in range(len(self))])

    def tiles(self, n_patches: int, longest: int | None) -> "Iterator[Bags | LongBag]":
        """Every bag once, in order, in views of about `n_patches` patches; a bag of more than `longest` in parts."""
        at_most = n_patches if longest is None else min(n_patches, longest)
        for run in runs_of_bags(np.diff(self._rows), at_most):
            tile = self.take(run)
            if longest is not None and len(run) == 1 and len(tile.features) > longest:
                yield LongBag(tile.patients[0], partial(self._views, tile.features, longest))
            else:
                yield tile
            self.release()

    def _views(self, features: torch.Tensor, n_patches: int) -> Iterator[torch.Tensor]:
        for part in features.split(n_patches):
            yield part
            self.release()

    @property
    def longest(self) -> int:
        """Patches of the longest bag."""
        return int((np.diff(self._rows)).max(initial=0))

    def require_room(self, need: int, what: str) -> None:
        """Nothing to check: whoever holds bags has found the room for them."""

    def release(self) -> None:
        """Let patches that are mapped leave memory; they come back when they are looked at. Held ones stay."""
        if self.mapped:
            let_go(self.features)

    def to(self, device: torch.device | str) -> "Bags":
        """The same bags on `device`; nothing is copied when they are there already."""
        features = self.features.to(device)
        return _bags(
            self.patients, features, self._rows, self.skipped, mapped=self.mapped and features is self.features
        )

    def sent_to(self, device: torch.device) -> "Bags":
        """`to(device)` for some bags of many: by way of pinned memory, so that a GPU works on while they come."""
        if self.device == device:
            return self
        pinned = self.features.pin_memory() if device.type == "cuda" else self.features
        return _bags(self.patients, pinned.to(device, non_blocking=True), self._rows, self.skipped)


def places_of(asked: Sequence[str], patients: Sequence[str]) -> np.ndarray:
    """(n,) int64: where in `patients` those `asked` for are, in the order asked; those that are not are left out."""
    where = {patient: bag for bag, patient in enumerate(patients)}
    return np.array([where[patient] for patient in asked if patient in where], dtype=np.int64)


def _bags(
    patients: tuple[str, ...],
    features: torch.Tensor,
    rows: np.ndarray,
    skipped: tuple[SkippedSlide, ...],
    *,
    mapped: bool = False,
) -> Bags:
    bags = Bags(patients, features, torch.from_numpy(rows).to(features.device, non_blocking=True), skipped, mapped)
    bags.__dict__["_rows"] = rows  # what cached_property would fetch back from the device
    return bags


def read_bags(
    cohort: Cohort, *, dtype: torch.dtype = torch.float32, strict: bool = False, scratch: Path | None = None
) -> Bags:
    """Read the bags of `cohort`, a patient's slides one after the other in the order of the label table.

    Each file is read once, straight into one tensor of `dtype` of known size; slides that lie packed as `dtype`, one
    after the other in one file, are mapped and not copied. With `scratch`, a folder on a disk with room for the cohort,
    that tensor is a memory-mapped file that vanishes with it, so a cohort may exceed memory.

    A slide that is bad (see SlideFault: unreadable, never written, all zero, ...) is left out with a UserWarning naming
    file, slide, patient, reason and what to do, and listed in `skipped`; with `strict` it is a StudyError. A patient
    without a good slide has no bag. Raises StudyError when no bag is left.
    """
    slides, width = slide_rows(cohort), cohort.encoder.dim
    return _required(read_rows(cohort.code, slides, width, dtype, strict=strict, scratch=scratch), cohort.code, slides)


def slide_rows(cohort: Cohort) -> list[SlideRow]:
    """The slides of `cohort`, a patient's one after the other in the order of the label table."""
    columns = ["patient_id", "slide", "path", "patches"]
    return list(cohort.slides[columns].itertuples(index=False, name=None))


def passing_slides(cohort: Cohort, bags: PatientBags) -> tuple[SkippedSlide, ...]:
    """Slides that `bags` of `cohort` lack for a reason that may be gone the next time, such as a fault of the disk.

    The cohort's fingerprint counts their content, so it cannot tell what is made without them from what is whole:
    whoever stores it says how many there are, and makes it again the next time. A slide that could not be read when the
    study was opened is not among them: the fingerprint changes when it can be.
    """
    known = cohort.identity
    return tuple(
        slide
        for slide in bags.skipped
        if slide.passing and (known is None or known.knows_content(slide.patient, slide.slide))
    )


def read_slides(
    slides: Sequence[tuple[str, Path]], width: int, *, dtype: torch.dtype = torch.float32, strict: bool = False
) -> Bags:
    """Bags of slides that belong to no study: (patient, path) a slide, those of a patient one after the other.

    `width` is the features' D; a slide of another width, or that is bad (see `read_bags`), is left out with a warning
    or, with `strict`, a StudyError. Raises StudyError when no bag is left.
    """
    rows = []
    for patient, path in slides:
        try:
            patches, found = header(path)
            if found != width:
                raise FeatureFileError(SlideFault.WIDTH, f"has {found} features, not {width}")
        except FeatureFileError:
            patches = 0  # named when it is read
        rows.append((patient, path.stem, str(path), patches))
    return _required(read_rows("new slides", rows, width, dtype, strict=strict), "new slides", rows)


def _required(bags: Bags, code: str, slides: Sequence[SlideRow]) -> Bags:
    if not len(bags):
        raise no_bag_left(code, len(slides))
    return bags


class NoBagError(StudyError):
    """No slide of a cohort can be used."""


def no_bag_left(code: str, n_slides: int) -> NoBagError:
    """The error for a cohort of which nothing can be used."""
    return NoBagError(f"{code}: none of its {n_slides} slides can be used; see the warnings above")


def read_rows(
    code: str,
    slides: Sequence[SlideRow],
    width: int,
    dtype: torch.dtype,
    *,
    strict: bool,
    scratch: Path | None = None,
    warn: bool = True,
) -> Bags:
    """Bags of `slides`, a patient's one after the other; none where no slide is good. `code` is for messages."""
    require_same_numbers([path for _, _, path, _ in slides], dtype)
    mapped = mapped_together([path for _, _, path, patches in slides if patches], dtype)
    size = (sum(patches for *_, patches in slides), width)
    copied = mapped is None and scratch is not None and size[0] > 0
    buffer = mapped
    if buffer is None:
        buffer = mapped_scratch(scratch, size, dtype, code) if copied and scratch else _allocate(size, dtype)
    patients: list[str] = []
    rows = [0]
    skipped = []
    end = 0
    parts = buffer.split([patches for *_, patches in slides]) if slides else ()
    faults = _faults([path for _, _, path, _ in slides], parts, there=mapped is not None)
    for (patient, slide, path, patches), part, fault in zip(slides, parts, faults, strict=True):
        if fault is not None:
            left_out = SkippedSlide(code, slide, patient, path, fault.fault, str(fault), fault.passing)
            skipped.append(leave_out(left_out, strict=strict, warn=warn))
            continue
        place = buffer[end : end + patches]
        if place.data_ptr() != part.data_ptr():
            place.copy_(part.clone())  # it moves up over those that were left out
        end += patches
        if copied:
            let_go(place)
        if patients and patients[-1] == patient:
            rows[-1] = end
        else:
            patients.append(patient)
            rows.append(end)
    offsets = np.array(rows, dtype=np.int64)
    return _bags(tuple(patients), buffer[:end], offsets, tuple(skipped), mapped=copied or mapped is not None)


def _faults(paths: Sequence[str], parts: Sequence[torch.Tensor], *, there: bool) -> Iterator[FeatureFileError | None]:
    """Fill each of `parts` (N, D) with the slide of `paths`, in order; the fault of each, or None.

    Where they are `there` already, only those without patches are looked at. As many threads read as torch may use;
    with one thread, a slide is read when its fault is asked for.
    """
    threads = min(torch.get_num_threads(), MOST_THREADS)
    if there or threads == 1:
        yield from (
            None if there and len(part) else _fault(path, part) for path, part in zip(paths, parts, strict=True)
        )
        return
    # In the mode of the thread that asks: torch would refuse to fill what was allocated in another one.
    fault = torch.inference_mode(torch.is_inference_mode_enabled())(_fault)
    with ThreadPoolExecutor(threads, "read slides", _compute_alone) as pool:
        try:
            yield from pool.map(fault, paths, parts)
        finally:
            pool.shutdown(cancel_futures=True)


def _fault(path: str, part: torch.Tensor) -> FeatureFileError | None:
    try:
        read_slide(path, part)
    except FeatureFileError as error:
        return error
    return None


def _compute_alone() -> None:
    """Have this thread compute without helpers of its own: several threads read, and each would have as many again."""
    torch.get_num_threads()  # else torch would set them after this, when it first computes here
    _thread_pools().limit(limits=1, user_api="openmp")


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def read_slide(path: str, part: torch.Tensor) -> None:
    """Fill `part` (N, D) from `path`, or raise FeatureFileError with the reason."""
    if len(part) == 0:
        # Nothing was promised for it when the study was opened: its header says why, or is a good one by now.
        _, width = header(path)
        if width != part.shape[1]:
            raise FeatureFileError(SlideFault.WIDTH, f"has {width} features, not {part.shape[1]}")
        reason = "could not be read when the study was opened, and can be now; run again to use it"
        raise FeatureFileError(SlideFault.CHANGED, reason, passing=True)
    read_features_into(path, part)


def leave_out(skipped: SkippedSlide, *, strict: bool, warn: bool) -> SkippedSlide:
    """`skipped`; with `warn`, say that it is left out, with `strict`, raise StudyError."""
    where = f"{skipped.path}, slide {skipped.slide}, patient {skipped.patient}: {skipped.reason}"
    to_do = "extract it again or remove its label row"
    if strict:
        raise StudyError(f"{skipped.cohort}: {where}; {to_do}, or run without --strict to leave it out")
    if warn:
        warnings.warn(f"{skipped.cohort}: {where}; the slide is left out; {to_do}", UserWarning, stacklevel=4)
    return skipped


def _allocate(size: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised tensor of `size` (P, D) in memory.

    NumPy asks the kernel for huge pages, torch does not: reading into fresh memory takes 5 instead of 13 ms a slide of
    4,000 x 1,536.
    """
    if not size[0]:
        return torch.empty(size, dtype=dtype)  # torch views no empty tensor as another kind
    octets = np.empty(size[0] * size[1] * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(octets).view(dtype).reshape(size)
