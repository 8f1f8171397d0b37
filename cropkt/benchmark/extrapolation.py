"""From seconds per slide to a whole study, with the assumptions said."""

from collections.abc import Sequence
from dataclasses import dataclass

from cropkt.benchmark.settings import BenchmarkSettings, FullStudy
from cropkt.benchmark.speed import Machine, Speed


@dataclass(frozen=True)
class Extrapolation:
    """Hours on one device (one thread of a CPU), ours in `precision` and of the straightforward loop.

    `reading` is one read of all files, `reading_packed` one of a bfloat16 pack; the straightforward loop's reads are in
    its times. `whole` opens the study, trains and sweeps it: opening reads the files once, training reads and then
    works, the sweep reads ahead while it scores. `whole_packed` does so from a pack, which is opened without a read.
    """

    precision: str
    scoring: float
    training: float
    reading: float
    reading_packed: float
    whole: float
    whole_packed: float
    plain_scoring: float
    plain_training: float
    assumptions: tuple[str, ...]


def extrapolate(
    speeds: Sequence[Speed], machine: Machine, settings: BenchmarkSettings, precision: str, study: FullStudy
) -> Extrapolation:
    """The full study by the longest bags that were measured: their seconds per patch and model, times all patches."""
    longest = max(speed.patches for speed in speeds)
    scoring, training = (
        next(speed for speed in speeds if (speed.work, speed.precision, speed.patches) == (work, precision, longest))
        for work in ("scoring", "training")
    )
    scored = study.patches / longest * study.cohorts * study.folds / 3600
    trained = study.patches / longest * study.training_share * study.folds * study.epochs / 3600
    octets = study.patches * settings.features * 4
    score, train = scoring.ours * scored, training.ours * trained
    read = octets / (machine.read * 1e6) / 3600
    packed = octets / 2 / (machine.read_packed * 1e6) / 3600
    assumptions = (
        f"{study.slides} slides, {study.patches} patches of {settings.features} features, {study.cohorts} cohorts",
        f"scoring: every slide by {study.cohorts * study.folds} models; training: {study.folds} folds, {study.epochs} "
        f"epochs, {study.training_share:.0%} of the slides in each",
        f"time is proportional to patches; measured at {longest} patches per slide, resident",
        "one device, or one thread of a CPU: divide by the devices, or by the cores where memory keeps up",
        f"reading files at {machine.read:.0f} MB/s and a pack at {machine.read_packed:.0f} MB/s, from the page cache "
        "to the device",
        "nothing else: no start of processes, no statistics, no report",
    )
    return Extrapolation(
        precision,
        score,
        train,
        read,
        packed,
        read + read + train + max(read, score),
        packed + train + max(packed, score),
        scoring.plain * scored,
        training.plain * trained,
        assumptions,
    )
