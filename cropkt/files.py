"""Results land by write-then-rename, so that a reader never meets half a file and a crash never loses a whole one."""

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{8}$")
SETTLED = 2_000_000_000
"""Nanoseconds after which a file's time of change is trusted to tell one content from the next."""


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it replaces `path` when the block ends without an error.

    The parent folder is made. The file is on the disk, not only in memory, before it gets its name, and its mode is the
    one the umask gives, whatever mode its writer chose. After an error the temporary file is removed and `path` is what
    it was. The temporary name is that of `path` with `.tmp-` and 8 hex digits behind it: no pattern of results matches
    it, and a writer that goes by the suffix must be told the format.

    Not `durable`: nobody waits for the disk, and after a power failure `path` may be there with other content. Only for
    files whose readers see that they are damaged, and which can be made again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some network disks cannot flush a folder
            raise
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether `path` is one that `atomic_path` gave."""
    return TEMPORARY.search(path.name) is not None


def sweep_temporaries(folder: Path, *, older_than: float = 3600.0) -> list[Path]:
    """Remove what killed writers left anywhere under `folder`, and return it.

    Only files that were last written `older_than` seconds ago: a writer may be at work. Whoever holds the folder alone
    may give 0.
    """
    latest = time.time() - older_than
    removed = []
    for path in sorted(path for path in folder.rglob("*.tmp-*") if is_temporary(path)):
        try:
            if path.is_file() and path.stat().st_mtime <= latest:
                path.unlink()
                removed.append(path)
        except FileNotFoundError:  # its writer has just finished
            continue
    return removed


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is written as null."""
    text = json.dumps(_without_nan(value), indent=1, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None when the file is missing, damaged, or holds anything but an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: not JSON, or not UTF-8
        return None
    return value if isinstance(value, dict) else None


def stored_files(folder: Path, pattern: str) -> list[Path]:
    """Files under `folder` that match `pattern`, sorted; never one that is still being written (`atomic_path`)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(".") and not is_temporary(path))


def content_digest(path: Path) -> str:
    """Size and BLAKE2b of a file's content, as "bytes:hex". A file that has not changed is read once per process.

    Raises OSError when it cannot be read.
    """
    known = path.stat()
    # A file may change twice within a tick of its disk's clock, so that its time alone does not tell.
    settled = time.time_ns() - known.st_mtime_ns > SETTLED
    read = _read_digest if settled else _read_digest.__wrapped__
    return read(path, known.st_size, known.st_mtime_ns, known.st_ino)


@lru_cache(maxsize=100_000)
def _read_digest(path: Path, size: int, mtime_ns: int, inode: int) -> str:  # noqa: ARG001 - the cache's key
    with path.open("rb") as stream:
        return f"{size}:{hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value


def digest(*parts: Any) -> str:
    """16 hex digits that change when any of `parts` (anything JSON can hold) changes."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
