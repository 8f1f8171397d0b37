"""Results land by write-then-rename, so that a reader never meets half a file and a crash never loses a whole one."""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

SETTLED = 2_000_000_000
"""Nanoseconds after which a file's time of change is trusted to tell one content from the next."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it replaces `path` when the block ends without an error.

    The parent folder is made. After an error the temporary file is removed and `path` is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    return sorted(path for path in folder.glob(pattern) if not _is_temporary(path))


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") or ".tmp-" in path.name


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
