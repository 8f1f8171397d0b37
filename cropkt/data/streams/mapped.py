"""Tensors that lie in a file: memory holds what is looked at, and lets go of it when it is told to."""

import ctypes
import mmap
import os
import tempfile
from pathlib import Path

import torch

from cropkt.errors import StudyError


def mapped_scratch(folder: Path, size: tuple[int, int], dtype: torch.dtype, what: str) -> torch.Tensor:
    """An uninitialised tensor of `size` (P, D) in a file under `folder` that vanishes with it. `what` is for messages.

    Raises StudyError where the disk has no room.
    """
    octets = size[0] * size[1] * dtype.itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{what}-", suffix=".patches", dir=folder)
        try:
            # Reserved now: a full disk met later, through the mapping, would kill the process without a word.
            os.posix_fallocate(handle, 0, octets)
            return torch.from_file(name, shared=True, size=size[0] * size[1], dtype=dtype).reshape(size)
        finally:
            os.close(handle)
            os.unlink(name)  # the mapping keeps the file alive; nothing is left behind, however the process ends
    except OSError as error:
        raise StudyError(
            f"{folder}: cannot hold the {octets / 2**30:.2f} GiB of {what} ({error.strerror}); "
            "name a scratch folder on a disk with more room"
        ) from error


def let_go(mapped: torch.Tensor) -> None:
    """Let the contiguous tensor `mapped`, which lies in a file, leave this process's memory.

    Its numbers come back from the file, or from the kernel's cache of it, when they are looked at. Never of a tensor
    that lies in memory alone: its numbers would be gone.
    """
    start, end = mapped.data_ptr(), mapped.data_ptr() + mapped.nbytes
    start, end = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        # An advice that is not taken costs memory and no number, so what it returns is not looked at.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
