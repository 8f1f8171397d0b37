"""The whole benchmark: speeds at each bag length, growth, memory, the full study."""

import platform
import resource
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cropkt.benchmark.extrapolation import Extrapolation, extrapolate
from cropkt.benchmark.growth import Growth, measure_growth
from cropkt.benchmark.settings import BenchmarkSettings, FullStudy
from cropkt.benchmark.speed import Machine, Speed, measure_speed, write_slides
from cropkt.models.precision import resolve_precision
from cropkt.version import VERSION


@dataclass(frozen=True)
class Benchmark:
    """All that was measured, and where. `peak_memory` is of the process, `peak_device_memory` of the GPU, in bytes."""

    version: str
    torch: str
    processor: str
    device: str
    threads: int
    clock: str
    settings: BenchmarkSettings
    machine: Machine
    speeds: tuple[Speed, ...]
    growth: tuple[Growth, ...]
    peak_memory: int
    peak_device_memory: int
    full_study: Extrapolation


def run_benchmark(settings: BenchmarkSettings, say: Callable[[str], None]) -> Benchmark:
    """Measure everything; `say` is told what is going on. Slides are written to the system's temporary folder."""
    speeds: list[Speed] = []
    for length in settings.lengths:
        say(f"bags of {length} patches")
        with tempfile.TemporaryDirectory(prefix="cropkt-benchmark-") as folder:
            machine, found = measure_speed(write_slides(Path(folder), length, settings), settings)
        speeds += found
    say("growth with patches, patients and sources")
    precision = resolve_precision("auto", settings.device)
    cuda = settings.device == "cuda"
    return Benchmark(
        version=VERSION,
        torch=torch.__version__,
        processor=_processor(),
        device=torch.cuda.get_device_name() if cuda else "cpu",
        threads=torch.get_num_threads(),
        clock="wall, device synchronised" if cuda else "processor time",
        settings=settings,
        machine=machine,
        speeds=tuple(speeds),
        growth=tuple(measure_growth(settings, precision)),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        peak_device_memory=torch.cuda.max_memory_allocated() if cuda else 0,
        full_study=extrapolate(speeds, machine, settings, precision, FullStudy()),
    )


def _processor() -> str:
    """The CPU's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
