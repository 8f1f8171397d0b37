"""One run at a time writes a results folder, and what Ray leaves lying about there goes when the run ends."""

import errno
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from cropkt.errors import ConfigError
from cropkt.experiments.journal import keep_in
from cropkt.files import sweep_temporaries
from cropkt.transfer.judgement.repeats import repeat_folder, stored_repeats
from cropkt.transfer.store import ResultsFolder

_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
"""How a file system says that it has no flock, such as Lustre that is mounted without it."""


@contextmanager
def workspace(results: ResultsFolder) -> Iterator[Path]:
    """Hold `results` for this process; yields an empty folder for Ray's own files, which is removed at the end.

    What a killed run has left in that folder is removed as well, and so are the files it was writing. The folder is
    under `results.out` because every node of a cluster has to see it. The run's journal is kept in `results.out`.
    Raises ConfigError when another run holds the results, or they cannot be written.
    """
    lock = results.models.path / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"--out {results.out}: cannot be written ({error.strerror}); name another folder") from error
    try:
        with _held(handle, lock, results.out):
            keep_in(results.out)
            _sweep_temporaries(results)
            folder = results.out / "ray" / results.encoder / results.architecture
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            try:
                yield folder
            finally:
                _remove(folder, results.out)
    finally:
        os.close(handle)


@contextmanager
def _held(handle: int, lock: Path, out: Path) -> Iterator[None]:
    """Hold the lock in the open file `handle`, or beside it where its file system cannot lock files."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _taken(out, os.pread(handle, 200, 0).decode()) from error
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        with _held_by_existence(lock.with_name(".lock-held"), out):
            yield
        return
    os.truncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    yield


@contextmanager
def _held_by_existence(path: Path, out: Path) -> Iterator[None]:
    """Hold the lock by a file that only one process can make. A killed run leaves it behind: on its own machine the
    next run sees that the process is gone and takes over; elsewhere nobody can see that."""
    lock = SoftFileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        owner = " on ".join(path.read_text().split()[:2]) if path.exists() else "unknown"
        raise _taken(out, f"process {owner}", f"; if that run was killed, remove {path}") from error
    print(f"--out {out}: its file system has no flock, so the folder is held by the file {path.name}", file=sys.stderr)
    try:
        yield
    finally:
        lock.release()


def _taken(out: Path, owner: str, more: str = "") -> ConfigError:
    return ConfigError(
        f"--out {out}: another run ({owner}) is writing there; wait for it, or name another folder{more}"
    )


def _sweep_temporaries(results: ResultsFolder) -> None:
    """Remove what killed writers have left: of any age where only the holder of the lock writes, elsewhere old ones."""
    repeats = [repeat_folder(results, number) for number in stored_repeats(results)]
    for folder in (folder for held in (results, *repeats) for folder in held.held_folders()):
        sweep_temporaries(folder, older_than=0)
    sweep_temporaries(results.out)


def _remove(folder: Path, above: Path) -> None:
    """Remove `folder`, and the folders between it and `above` that this leaves empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if parent == above or any(parent.iterdir()):
            return
        parent.rmdir()
