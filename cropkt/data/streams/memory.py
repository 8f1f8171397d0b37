"""How much memory patches may fill: what a person asked for, or a share of what the machine has."""

import os
import re
from pathlib import Path

from cropkt.errors import ConfigError

SHARE = 0.5
"""Of the memory there is, for patches. The rest is for models, activations, results, and the processes themselves."""
UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
CGROUPS = Path("/sys/fs/cgroup")


def budget(asked: str | None, device: str = "cpu") -> int:
    """Bytes that patches may fill on this machine, all worker processes together.

    `asked`: "8GB", "500 MiB", a share of what there is such as "40%", or None for SHARE of it. What there is: the
    least of the machine's memory, the limit of the process's control group and, for "cuda", the GPU's memory.
    Raises ConfigError for anything else.
    """
    if asked is None:
        return int(SHARE * available(device))
    text = asked.strip().upper()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*|%)", text)
    if not found or (found[2] != "%" and found[2] not in UNITS):
        raise ConfigError(f"--memory is {asked!r}; give an amount such as 8GB or 500MiB, or a share such as 40%")
    number = float(found[1])
    if found[2] == "%" and number > 100:
        raise ConfigError(f"--memory is {asked!r}; a share is at most 100%")
    wanted = int(number / 100 * available(device) if found[2] == "%" else number * UNITS[found[2]])
    if wanted < 1:
        raise ConfigError(f"--memory is {asked!r}; patches need some memory")
    return wanted


def available(device: str = "cpu") -> int:
    """Bytes: the least of the machine's memory, the control group's limit and, for "cuda", the GPU's memory."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if (limit := _cgroup_limit()) is not None:
        sizes.append(limit)
    if device.startswith("cuda"):
        import torch

        sizes.append(torch.cuda.get_device_properties(device).total_memory)
    return min(sizes)


def _cgroup_limit() -> int | None:
    """The lowest memory limit of the process's control group (version 2) and those above it, or version 1's."""
    limits = [_number(CGROUPS / "memory" / "memory.limit_in_bytes")]
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2].lstrip("/")
    except (OSError, IndexError):
        own = ""
    folder = CGROUPS / own
    while folder.is_relative_to(CGROUPS):
        limits.append(_number(folder / "memory.max"))
        folder = folder.parent
    return min((limit for limit in limits if limit is not None), default=None)


def _number(path: Path) -> int | None:
    """The number in the file `path`; None where there is no such file, or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def size_in_words(size: float) -> str:
    """ "8.0 GB", "512 MB": a number of bytes for people, in powers of ten."""
    for unit in ("GB", "MB", "kB"):
        if size >= UNITS[unit.upper()]:
            return f"{size / UNITS[unit.upper()]:.3g} {unit}"
    return f"{size:.0f} bytes"
