"""How time grows with patches, patients and models: the slope on log-log axes, 1 where it is proportional."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from cropkt.benchmark.clock import by_turns
from cropkt.benchmark.settings import BenchmarkSettings
from cropkt.benchmark.speed import new_models, score, train
from cropkt.data.bags import Bags
from cropkt.models.precision import DTYPES
from cropkt.survival.losses import SurvivalTargets

FACTORS = (1, 2, 4, 8)
SLIDES = 4
"""Bags at factor 1."""


@dataclass(frozen=True)
class Growth:
    """Seconds of `work` as `axis` ("patches", "patients", "sources") takes `sizes`, and the log-log slope."""

    work: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    slope: float


def measure_growth(settings: BenchmarkSettings, precision: str) -> list[Growth]:
    """Scoring by patches of a bag, bags and models; training by patches and bags. Median seconds of the rounds."""
    patches = settings.growth_patches
    return [
        _growth("scoring", "patches", patches, settings, lambda n: _scoring(n, SLIDES, 1, settings, precision)),
        _growth("scoring", "patients", SLIDES, settings, lambda n: _scoring(patches, n, 1, settings, precision)),
        _growth("scoring", "sources", 1, settings, lambda n: _scoring(patches, SLIDES, n, settings, precision)),
        _growth("training", "patches", patches, settings, lambda n: _training(n, SLIDES, settings, precision)),
        _growth("training", "patients", SLIDES, settings, lambda n: _training(patches, n, settings, precision)),
    ]


def _growth(
    work: str, axis: str, start: int, settings: BenchmarkSettings, prepare: Callable[[int], Callable[[], object]]
) -> Growth:
    sizes = tuple(start * factor for factor in FACTORS)
    found = by_turns({str(size): prepare(size) for size in sizes}, settings.rounds, settings.device)
    times = tuple(float(np.median(found[str(size)])) for size in sizes)
    return Growth(work, axis, sizes, times, slope(sizes, times))


def slope(sizes: tuple[int, ...], seconds: tuple[float, ...]) -> float:
    """Of log seconds on log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _bags(n_patches: int, count: int, settings: BenchmarkSettings, precision: str) -> Bags:
    features = torch.randn(n_patches * count, settings.features, device=settings.device).to(DTYPES[precision])
    offsets = torch.arange(count + 1, device=settings.device) * n_patches
    return Bags(tuple(f"patient {number}" for number in range(count)), features, offsets)


def _scoring(
    n_patches: int, count: int, n_models: int, settings: BenchmarkSettings, precision: str
) -> Callable[[], object]:
    bags, asked = _bags(n_patches, count, settings, precision), new_models(n_models, settings, precision)
    return lambda: score(asked, bags)


def _training(n_patches: int, count: int, settings: BenchmarkSettings, precision: str) -> Callable[[], object]:
    bags, learners = _bags(n_patches, count, settings, precision), new_models(1, settings, precision)
    interval = torch.arange(count, device=settings.device) % 8
    targets = SurvivalTargets(interval * 365.0, interval % 2, interval)
    return lambda: train(learners, bags, targets, precision, settings.seed)
