"""Scoring and training against the machine's rate of multiplication, and against the straightforward loop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from cropkt.benchmark.clock import by_turns
from cropkt.benchmark.settings import BenchmarkSettings
from cropkt.benchmark.straightforward import PlainABMIL, score_slides, train_model
from cropkt.data.bags import Bags, read_slides
from cropkt.data.packs.read import mapped
from cropkt.data.slide_files.features import write_h5
from cropkt.models.mil import Architecture, MILModel, TrainedWith, build_model
from cropkt.models.precision import DTYPES, resolve_precision
from cropkt.models.predict import predict
from cropkt.seeds import generator, named_seed
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds

FOLDS_TOGETHER = 5
"""A source's models are asked together, as in a sweep."""
UPDATE = 16
"""Slides of an update, as published."""
MULTIPLIED = 4096


@dataclass(frozen=True)
class Machine:
    """Rates measured beside the work: multiplying in GFLOP/s (a multiply-add is two), reading in MB/s.

    read: of float32 .h5 files, to bags on the device. read_packed: of a bfloat16 pack, likewise. Files are read from
    the page cache: a disk or network may be slower.
    """

    multiply: dict[str, float]
    read: float
    read_packed: float


@dataclass(frozen=True)
class Speed:
    """One kind of work at one bag length and precision, all times in seconds per slide and model (and update).

    plain: of the straightforward loop, which always works in float32. speed_up: plain / ours. share: of the rate of
    multiplication measured in the same round that ours reaches.
    """

    work: str
    precision: str
    patches: int
    plain: float
    ours: float
    speed_up: float
    share: float


@dataclass(frozen=True)
class Slides:
    """Slides of one length on disk, with the labels they are trained on; `pack` holds the same patches as bfloat16."""

    paths: list[Path]
    pack: Path
    patches: int
    targets: SurvivalTargets


def operations(n_patches: int, width: int, *, training: bool) -> int:
    """Multiplications and additions of ABMIL for one bag: the projection D x 512, two branches 512 x 384.

    A training update adds the gradients: of the projection's weights, of the branches' weights and of their input.
    """
    projection, branches = 2 * width * 512, 2 * 2 * 512 * 384
    return n_patches * (2 * projection + 3 * branches if training else projection + branches)


def write_slides(folder: Path, n_patches: int, settings: BenchmarkSettings) -> Slides:
    """Slides of standard normal features, and made-up labels."""
    paths, packed = [], []
    for slide in range(settings.slides):
        random = generator(settings.seed, "benchmark", n_patches, slide)
        paths.append(folder / f"slide_{n_patches}_{slide:03d}.h5")
        values = random.standard_normal((n_patches, settings.features), dtype=np.float32)
        write_h5(paths[-1], values, np.zeros((n_patches, 2), np.int32))
        packed.append(torch.from_numpy(values).bfloat16())
    pack = folder / f"pack_{n_patches}.safetensors"
    save_file({"features": torch.cat(packed), "coords": torch.zeros(n_patches * len(packed), 2)}, pack)
    interval = torch.arange(settings.slides, device=settings.device) % 8
    targets = SurvivalTargets(interval * 365.0, interval % 2, interval)
    return Slides(paths, pack, n_patches, targets)


def read(slides: Slides, settings: BenchmarkSettings, precision: str) -> Bags:
    """The slides' bags on the device."""
    named = [(path.stem, path) for path in slides.paths]
    return read_slides(named, settings.features, dtype=DTYPES[precision]).to(settings.device)


def read_packed(slides: Slides, settings: BenchmarkSettings) -> torch.Tensor:
    """The packed patches on the device."""
    features, _ = mapped(slides.pack.parent, slides.pack.name, 0, slides.patches * settings.slides)
    return features.to(settings.device, copy=True)


def new_models(count: int, settings: BenchmarkSettings, precision: str) -> list[MILModel]:
    """ABMIL of the study's size, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(settings.seed, "benchmark", "models"))
        models = [build_model(Architecture(settings.features)) for _ in range(count)]
    for model in models:
        model.trained_with = TrainedWith("discrete_nll", precision)
    return [model.to(settings.device).eval() for model in models]


def plain_models(models: list[MILModel]) -> list[PlainABMIL]:
    """The straightforward loop's models, with the weights of `models`."""
    plain = []
    for model in models:
        plain.append(PlainABMIL(model.architecture.features).to(next(model.parameters()).device))
        plain[-1].load_state_dict(model.state_dict())
    return plain


def score(models: list[MILModel], bags: Bags) -> None:
    """Score resident bags as a sweep does, a source's models at a time."""
    for start in range(0, len(models), FOLDS_TOGETHER):
        predict(models[start : start + FOLDS_TOGETHER], bags)


def train(models: list[MILModel], bags: Bags, labels: SurvivalTargets, precision: str, seed: int) -> None:
    """One epoch of every model on all resident bags, as the folds of a cohort train."""
    everything = np.arange(len(bags))
    jobs = [FoldTraining(fold, model, everything) for fold, model in enumerate(models)]
    config = TrainingConfig(epochs=1, bags_per_update=UPDATE)
    train_folds(jobs, bags, labels, config, seed=seed, stream="benchmark", precision=precision)


def multiplication(settings: BenchmarkSettings, precision: str) -> tuple[Callable[[], object], int]:
    """A product of the shape of a tile's widest, and how many operations it is."""
    rows = MULTIPLIED * (1 if settings.device == "cpu" else 16)
    left = torch.randn(rows, settings.features, device=settings.device).to(DTYPES[precision])
    right = torch.randn(settings.features, 512, device=settings.device).to(DTYPES[precision])
    repeats = 4
    return lambda: [left @ right for _ in range(repeats)], repeats * 2 * rows * settings.features * 512


def measure_speed(slides: Slides, settings: BenchmarkSettings) -> tuple[Machine, list[Speed]]:
    """All of it in each round: multiplying, reading, the straightforward loop, ours in both precisions."""
    plain = plain_models(new_models(settings.plain_models, settings, "float32"))
    learner = PlainABMIL(settings.features).to(settings.device)
    interval, event = slides.targets.interval, slides.targets.event
    works: dict[str, Callable[[], object]] = {
        "read": lambda: read(slides, settings, resolve_precision("auto", settings.device)),
        "read packed": lambda: read_packed(slides, settings),
        "plain scoring": lambda: score_slides(plain, slides.paths, settings.device),
        "plain training": lambda: train_model(
            learner, slides.paths, interval, event, epochs=1, update=UPDATE, device=settings.device
        ),
    }
    counted = {}
    for precision in DTYPES:
        works[f"multiplying, {precision}"], counted[precision] = multiplication(settings, precision)
        works |= _ours(slides, settings, precision)
    found = by_turns(works, settings.rounds, settings.device)
    rates = {precision: counted[precision] / found[f"multiplying, {precision}"] for precision in DTYPES}
    octets = settings.slides * slides.patches * settings.features * 4
    machine = Machine(
        {precision: float(np.median(rate)) / 1e9 for precision, rate in rates.items()},
        octets / float(np.median(found["read"])) / 1e6,
        octets / 2 / float(np.median(found["read packed"])) / 1e6,
    )
    speeds = []
    for work, plain_count, count in (
        ("scoring", settings.plain_models, settings.models),
        ("training", 1, settings.folds),
    ):
        for precision, rate in rates.items():
            reference = found[f"plain {work}"] / settings.slides / plain_count
            ours = found[f"{work}, {precision}"] / settings.slides / count
            needed = operations(slides.patches, settings.features, training=work == "training")
            speeds.append(_speed(work, precision, slides.patches, reference, ours, needed / rate))
    return machine, speeds


def _ours(slides: Slides, settings: BenchmarkSettings, precision: str) -> dict[str, Callable[[], object]]:
    bags = read(slides, settings, precision)
    scorers, learners = (new_models(count, settings, precision) for count in (settings.models, settings.folds))
    return {
        f"scoring, {precision}": lambda: score(scorers, bags),
        f"training, {precision}": lambda: train(learners, bags, slides.targets, precision, settings.seed),
    }


def _speed(work: str, precision: str, n_patches: int, plain: np.ndarray, ours: np.ndarray, limit: np.ndarray) -> Speed:
    """Medians over rounds; ratios are taken within a round."""
    median = {"plain": plain, "ours": ours, "speed_up": plain / ours, "share": limit / ours}
    return Speed(work, precision, n_patches, **{name: float(np.median(values)) for name, values in median.items()})
