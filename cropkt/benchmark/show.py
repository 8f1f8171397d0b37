"""A benchmark as a table of text and as a picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from cropkt.benchmark.growth import FACTORS, Growth
from cropkt.benchmark.run import Benchmark
from cropkt.benchmark.speed import Speed
from cropkt.report.style import CHOSEN, HIGH, LOW, NEUTRAL, QUIET, new_figure, save_figure, styled

COLOURS = {"float32": LOW, "bfloat16": HIGH}


def lines(found: Benchmark) -> Iterator[str]:
    """The benchmark, a line at a time."""
    rates = ", ".join(f"{rate:.0f} GFLOP/s {precision}" for precision, rate in found.machine.multiply.items())
    reads = f"reads {found.machine.read:.0f} MB/s of files, {found.machine.read_packed:.0f} MB/s of a pack"
    yield f"{found.processor} / {found.device}, {found.threads} threads: {rates}; {reads}"
    yield f"{'':9s}{'patches':>8s}{'precision':>10s}{'plain, s':>10s}{'ours, s':>10s}{'speed-up':>9s}{'of limit':>9s}"
    for speed in found.speeds:
        yield (
            f"{speed.work:9s}{speed.patches:8d}{speed.precision:>10s}{speed.plain:10.5f}{speed.ours:10.5f}"
            f"{speed.speed_up:8.2f}x{speed.share:9.0%}"
        )
    yield "growth: " + ", ".join(f"{one.work} with {one.axis} {one.slope:.2f}" for one in found.growth)
    yield f"peak memory {found.peak_memory / 1e9:.1f} GB, on the device {found.peak_device_memory / 1e9:.1f} GB"
    full = found.full_study
    yield (
        f"full study, {full.precision}: scoring {_time(full.scoring)}, training {_time(full.training)}, one read "
        f"{_time(full.reading)}, of a pack {_time(full.reading_packed)}; all of it {_time(full.whole)}, from a pack "
        f"{_time(full.whole_packed)}; straightforward loop {_time(full.plain_scoring)} and {_time(full.plain_training)}"
    )


def _time(hours: float) -> str:
    """ "12.3 h" or, below an hour, "12.3 min"."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


@styled
def draw_benchmark(found: Benchmark, path: Path) -> Path:
    """Speed-up over the straightforward loop, share of the multiply rate, and growth."""
    figure, (speed_up, share, growth) = new_figure(2.4, columns=(1, 1, 1.2))
    _bars(speed_up, found.speeds, [speed.speed_up for speed in found.speeds], "speed-up over a plain loop", 1)
    _bars(share, found.speeds, [100 * speed.share for speed in found.speeds], "% of the multiply rate", 100)
    _growth(growth, found.growth)
    return save_figure(path, figure)


def _bars(axes: Axes, speeds: Sequence[Speed], values: Sequence[float], label: str, mark: float) -> None:
    places = range(len(speeds))
    axes.barh(places, values, color=[COLOURS[speed.precision] for speed in speeds])
    axes.axvline(mark, color=NEUTRAL, linewidth=0.6)
    axes.set_yticks(places, [f"{speed.work} {speed.patches}\n{speed.precision}" for speed in speeds])
    axes.invert_yaxis()
    axes.set_xlabel(label)


def _growth(axes: Axes, growth: Sequence[Growth]) -> None:
    styles = {"patches": "-", "patients": "--", "sources": ":"}
    for one in growth:
        colour = CHOSEN if one.work == "training" else QUIET
        label = f"{one.work}, {one.axis}: slope {one.slope:.2f}"
        sizes = [size / one.sizes[0] for size in one.sizes]
        axes.loglog(sizes, one.seconds, styles[one.axis], color=colour, marker="o", label=label)
    axes.set_xlabel("times as many")
    axes.set_xticks(FACTORS, [str(factor) for factor in FACTORS])
    axes.minorticks_off()
    axes.set_ylabel("seconds")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low))  # room for the legend above the lines
    axes.legend(loc="upper left")
