"""What can be wrong with one slide's feature file, by name, so that exclusions can be counted one line per reason."""

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cropkt.errors import StudyError


class SlideFault(StrEnum):
    """Why a slide is left out. The value is how a count of such slides reads: "3 slides: no such file"."""

    MISSING = "no such file"
    NOT_A_FILE = "not a regular file"
    EMPTY_FILE = "the file is empty"
    UNREADABLE = "the file cannot be read"
    DISK = "the disk failed while the file was read"
    NO_READER = "a package that reads such files is not installed"
    NOT_NUMBERS = "the file holds more than numbers"
    NO_FEATURES = "no features in the file"
    AMBIGUOUS = "several arrays may be the features"
    TYPE = "features of another type than floating point"
    SHAPE = "features of a wrong shape"
    WIDTH = "another width than the encoder's"
    NO_PATCHES = "no patches"
    UNWRITTEN = "features never written, or not to the end"
    COORDINATES = "coordinates do not fit the features"
    NOT_FINITE = "NaN or infinite features"
    ABSURD = "features of absurd size"
    ZEROS = "patches whose features are all zero"
    CHANGED = "changed since the study was opened"


class FeatureFileError(StudyError):
    """A feature file cannot be used: `fault` is the kind, the message says why, without the path.

    `passing`: the same file may be readable the next time (a fault of the disk, a package that is missing), so a result
    made without it is not whole.
    """

    def __init__(self, fault: SlideFault, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.fault = fault
        self.passing = passing

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.fault, str(self), self.passing)


def _again(fault: SlideFault, reason: str, passing: bool) -> FeatureFileError:
    return FeatureFileError(fault, reason, passing=passing)


@dataclass(frozen=True)
class SkippedSlide:
    """A slide that is left out: `kind` to count by, `reason` in full, `passing` as in FeatureFileError."""

    cohort: str
    slide: str
    patient: str
    path: str
    kind: SlideFault
    reason: str
    passing: bool = False


def skipped_by_reason(skipped: Iterable[SkippedSlide]) -> list[str]:
    """One line per kind of fault, the most frequent first: how many slides, and the first of them in full."""
    by_kind: dict[SlideFault, list[SkippedSlide]] = {}
    for slide in skipped:
        by_kind.setdefault(slide.kind, []).append(slide)
    lines = []
    for kind, slides in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        first = slides[0]
        count = "1 slide" if len(slides) == 1 else f"{len(slides)} slides"
        example = f"{first.path}, patient {first.patient}, slide {first.slide}: {first.reason}"
        lines.append(f"{count} left out, {kind} ({'' if len(slides) == 1 else 'e.g. '}{example})")
    return lines


PASSING_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        *(
            "EIO",
            "ESTALE",
            "ETIMEDOUT",
            "EAGAIN",
            "EINTR",
            "EBUSY",
            "ENOMEM",
            "EMFILE",
            "ENFILE",
            "ENOLCK",
            "EREMOTEIO",
        ),
        *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN"),
        *("ENETUNREACH", "ENETRESET", "ESHUTDOWN", "ENOBUFS", "EPROTO", "ENODATA"),
    )
    if hasattr(errno, name)
)
"""Error numbers of disks, network disks and busy machines that may be gone the next time."""


def fault_of(error: BaseException) -> FeatureFileError:
    """The named fault behind an error that opening or reading a file raised."""
    number = _error_number(error)
    if isinstance(error, FileNotFoundError) or number == errno.ENOENT:
        return FeatureFileError(SlideFault.MISSING, "does not exist")
    if number is not None and number in PASSING_ERRORS:
        reason = f"cannot be read now ({os.strerror(number)}); the disk may have recovered when you run again"
        return FeatureFileError(SlideFault.DISK, reason, passing=True)
    text = _first_line(error) if number is None else os.strerror(number)
    return FeatureFileError(SlideFault.UNREADABLE, f"cannot be read ({text})")


def _error_number(error: BaseException) -> int | None:
    """The errno of `error`; HDF5 hides it in its text ("errno = 5, error message = ...")."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    hidden = re.search(r"errno = (\d+)", str(error))
    return int(hidden[1]) if hidden and int(hidden[1]) else None


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(path: str | Path, *, is_folder: bool = False) -> os.stat_result:
    """The status of the file at `path` (with `is_folder`: of the folder), found without opening it.

    Raises FeatureFileError for anything else: to open a named pipe or a device may take for ever. An empty file too.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise fault_of(error) from error
    wanted = stat.S_ISDIR if is_folder else stat.S_ISREG
    if not wanted(found.st_mode):
        kind = next((name for test, name in KINDS if test(found.st_mode)), "a file")
        raise FeatureFileError(SlideFault.NOT_A_FILE, f"is {kind}, not a {'folder' if is_folder else 'file'}")
    if not is_folder and found.st_size == 0:
        raise FeatureFileError(SlideFault.EMPTY_FILE, "is empty (0 bytes)")
    return found
