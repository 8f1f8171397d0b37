"""Content digests of slides, and their headers: every byte of a file, read once and kept as long as it is the same.

A cached digest holds while path, size, times of change (mtime and ctime, in nanoseconds) and inode are what they were;
looking it up costs one `stat` per slide. The whole content is read, no sample of it: one changed byte is seen. What is
not seen: bytes changed on the disk behind the file system's back. The digest is of the file, not of the numbers, so the
same numbers written by another tool, or compressed, count as changed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from cropkt.data.packs.index import is_packed, packed_slide
from cropkt.data.slide_files.features import header
from cropkt.data.slide_files.slide_faults import FeatureFileError, require_regular
from cropkt.files import write_json

CACHE_VERSION = 1
STUDY_CACHE = Path(".cropkt") / "slide_digests.json"
YOUNG = 2_000_000_000
"""Nanoseconds for which a file that has just changed may change again with the same time of change."""
SAVED_EVERY = 30.0
"""Seconds between two saves of the cache, so that an interrupted first opening goes on where it was."""
THREADS = 8

Stamp = tuple[int, int, int, int]
"""Size, mtime_ns, ctime_ns and inode of a file; of a folder, the last is a number that changes with any file in it."""


class Entry(NamedTuple):
    """What the cache holds of a file: its stamp, its digest, and its header (0, 0 where that is bad)."""

    stamp: Stamp
    digest: str
    patches: int
    width: int


def slide_digests(
    paths: Iterable[str | Path], cache: Path | None, report: Callable[[int, int], None] | None = None
) -> dict[str, str | None]:
    """The digest (32 hex digits of SHA-256) of each slide's content, or None where the file cannot be read.

    `cache` is a JSON file that is read and kept up to date; one that cannot be read or written costs time and nothing
    else, and of two processes that write it at once one is right and the other's digests are taken again. `report` is
    called with the bytes read so far and in all. Of a packed slide it is the digest of the file that was packed, and
    nothing is read.
    """
    named = [str(path) for path in paths]
    packed = {path: packed_slide(path).digest or None for path in named if is_packed(path)}
    stamps = {path: _stamp(path) for path in named if path not in packed}
    digests: dict[str, str | None] = {path: entry.digest for path, entry in _known(stamps, cache).items()}
    unknown = {path: stamp for path, stamp in stamps.items() if stamp is not None and path not in digests}
    if unknown:
        digests |= _take(unknown, cache, report)
    return {path: packed[path] if path in packed else digests.get(path) for path in named}


def known_headers(paths: Iterable[str | Path], cache: Path | None) -> dict[str, tuple[int, int]]:
    """Patches and width of those slides whose header was good when their digest was taken and that have not changed.

    Files that were found bad are not among them: they are looked at again every time.
    """
    named = [str(path) for path in paths]
    slides = {path: packed_slide(path) for path in named if is_packed(path)}
    packed = {path: (slide.patches, slide.width) for path, slide in slides.items() if not slide.fault}
    known = _known({path: _stamp(path) for path in named if path not in slides}, cache)
    return packed | {path: (entry.patches, entry.width) for path, entry in known.items() if entry.patches}


def digest_cache(study_folder: Path) -> Path:
    """Where the digests of the study in `study_folder` are kept: inside it, or where that cannot be written, in
    the user's own cache folder."""
    inside = study_folder / STUDY_CACHE
    for folder in (inside.parent, study_folder):
        if folder.is_dir():
            if os.access(folder, os.W_OK | os.X_OK):
                return inside
            break
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache")
    name = hashlib.sha256(os.fsencode(study_folder.resolve())).hexdigest()[:16]
    return own / "cropkt" / f"slide_digests_{name}.json"


def _take(
    unknown: dict[str, Stamp], cache: Path | None, report: Callable[[int, int], None] | None
) -> dict[str, str | None]:
    """Digests of these files, taken by several threads (hashing lets go of the interpreter)."""
    total, done = sum(stamp[0] for stamp in unknown.values()), 0
    digests: dict[str, str | None] = {}
    lasting: dict[str, Entry] = {}
    saved = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        running = {threads.submit(_digest, path): path for path in unknown}
        for future in as_completed(running):
            path = running[future]
            stamp, digest = unknown[path], future.result()
            digests[path] = digest
            if digest is not None and _old_enough(stamp) and _stamp(path) == stamp:
                lasting[path] = Entry(stamp, digest, *_header(path))
            done += stamp[0]
            if report is not None:
                report(done, total)
            if time.monotonic() - saved > SAVED_EVERY:
                _add_to_cache(cache, lasting)
                saved = time.monotonic()
    _add_to_cache(cache, lasting)
    return digests


def _stamp(path: str | Path) -> Stamp | None:
    try:
        if str(path).endswith(".zarr"):
            return _folder_stamp(path)
        return _file_stamp(require_regular(path))
    except (FeatureFileError, OSError):
        return None


def _file_stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _folder_stamp(path: str | Path) -> Stamp:
    """The bytes of all files, the latest times, and a hash over names and stamps in place of the inode."""
    from cropkt.data.slide_files.zarr_file import store_files

    files = [(name, _file_stamp(status)) for name, status in store_files(path)]
    over_all = hashlib.sha256(repr(files).encode()).digest()[:6]
    size = sum(stamp[0] for _, stamp in files)
    mtime, ctime = (max((stamp[time] for _, stamp in files), default=0) for time in (1, 2))
    return size, mtime, ctime, int.from_bytes(over_all, "big")


def _old_enough(stamp: Stamp) -> bool:
    return max(stamp[1:3]) < time.time_ns() - YOUNG


def _digest(path: str) -> str | None:
    try:
        if not path.endswith(".zarr"):
            return _file_digest(path)
        from cropkt.data.slide_files.zarr_file import store_files

        files = [(name, _file_digest(os.path.join(path, name))) for name, _ in store_files(path)]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]
    except (FeatureFileError, OSError):
        return None


def _file_digest(path: str) -> str:
    require_regular(path)
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _header(path: str) -> tuple[int, int]:
    try:
        return header(path)
    except FeatureFileError:
        return 0, 0


def _known(stamps: Mapping[str, Stamp | None], cache: Path | None) -> dict[str, Entry]:
    """The cache's entries of those files that are what they were."""
    every = _read_cache(cache)
    found = {path: every.get(os.path.abspath(path)) for path in stamps}
    return {path: entry for path, entry in found.items() if entry is not None and entry.stamp == stamps[path]}


def _read_cache(cache: Path | None) -> dict[str, Entry]:
    """Entries by absolute path; none where the file is not there, damaged, or of another version."""
    if cache is None:
        return {}
    try:
        content = json.loads(cache.read_bytes())
        slides = content["slides"].items() if content["version"] == CACHE_VERSION else ()
        root = os.path.abspath(cache.parent)
        return {
            os.path.normpath(os.path.join(root, path)): Entry(tuple(stamp), str(digest), int(patches), int(width))
            for path, (*stamp, digest, patches, width) in slides
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _add_to_cache(cache: Path | None, found: Mapping[str, Entry]) -> None:
    if cache is None or not found:
        return
    every = _read_cache(cache) | {os.path.abspath(path): entry for path, entry in found.items()}
    root = os.path.abspath(cache.parent)
    # Relative to the cache, so that the entries of a study that is renamed still hold.
    slides: dict[str, Any] = {os.path.relpath(path, root): [*entry.stamp, *entry[1:]] for path, entry in every.items()}
    try:
        write_json(cache, {"version": CACHE_VERSION, "slides": slides})
    except OSError:
        return
