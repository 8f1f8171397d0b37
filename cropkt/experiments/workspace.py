"""One run at a time writes a results folder, and what Ray leaves lying about there goes when the run ends."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.transfer.store import ResultsFolder


@contextmanager
def workspace(results: ResultsFolder) -> Iterator[Path]:
    """Hold `results` for this process; yields an empty folder for Ray's own files, which is removed at the end.

    What a killed run has left in that folder is removed as well. The folder is under `results.out` because every node
    of a cluster has to see it. Raises ConfigError when another run holds the results, or they cannot be written.
    """
    lock = results.models.path / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(f"--out {results.out}: cannot be written ({error.strerror}); name another folder") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 200, 0).decode()
            raise ConfigError(
                f"--out {results.out}: another run ({owner}) is writing there; wait for it, or name another folder"
            ) from error
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        folder = results.out / "ray" / results.encoder / results.architecture
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            _remove(folder, results.out)
    finally:
        os.close(handle)


def _remove(folder: Path, above: Path) -> None:
    """Remove `folder`, and the folders between it and `above` that this leaves empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if parent == above or any(parent.iterdir()):
            return
        parent.rmdir()
