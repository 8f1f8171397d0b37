"""The machine a run would work on: device, memory, disk, Ray, and which of its processes would listen where."""

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from joblib import cpu_count  # type: ignore[import-untyped]

GB = 1e9
LISTENS = (
    "Ray, while a run works: free ports of 127.0.0.1 alone (its dashboard stays off)",
    "MLflow: nothing, until you start `mlflow ui`, which listens on 127.0.0.1:5000",
)


@dataclass(frozen=True)
class Machine:
    """Gigabytes are 1e9 bytes; `memory_free` is what this process may still use, None where it cannot be known."""

    device: str
    cores: int
    memory_free: float | None
    disk_free: float
    disk: str
    ray: str
    torch: str
    listens: tuple[str, ...] = LISTENS


def this_machine(folder: Path) -> Machine:
    """This machine; the disk is the one `folder` is on. Imports torch, to see whether it finds a GPU."""
    import torch

    device = "cpu"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        device = f"cuda ({', '.join(names)})"
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free / GB
    return Machine(device, cpu_count(), memory_free(), free, str(there), _version("ray"), torch.__version__)


def memory_free() -> float | None:
    """Memory in GB that is free for this process: of the machine, and of the control group it is in."""
    limits = []
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    limit, used = (_lines(Path("/sys/fs/cgroup") / name)[:1] for name in ("memory.max", "memory.current"))
    if limit and used and limit[0].strip().isdigit():
        limits.append(int(limit[0]) - int(used[0]))
    if not limits and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits) / GB if limits else None


def told(machine: Machine) -> list[str]:
    """`machine` as a person reads it."""
    memory = "unknown" if machine.memory_free is None else f"{machine.memory_free:.1f} GB free"
    return [
        f"device     {machine.device}, {machine.cores} cores",
        f"memory     {memory}",
        f"disk       {machine.disk_free:.1f} GB free at {machine.disk}",
        f"versions   Ray {machine.ray}, torch {machine.torch}",
        *(f"listens    {line}" for line in machine.listens),
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"
