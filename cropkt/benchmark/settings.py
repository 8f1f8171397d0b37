"""What a benchmark measures: three sizes, and the study it is extrapolated to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkSettings:
    """`slides` bags of each of `lengths` patches with `features` features; `models` score them, `folds` learn.

    The straightforward loop is given `plain_models` of the models: its time per slide and model needs no more.
    Growth is measured from `growth_patches` patches, up to 8 times as many.
    """

    device: str
    features: int = 1536
    lengths: tuple[int, ...] = (1000, 4000)
    slides: int = 4
    models: int = 5
    plain_models: int = 5
    folds: int = 5
    rounds: int = 3
    growth_patches: int = 500
    seed: int = 0


def settings_for(device: str, *, quick: bool, seed: int) -> BenchmarkSettings:
    """The sizes for "cpu" (some minutes) or "cuda" (real ones); `quick` shows that all works, its numbers are rough."""
    if quick:
        return BenchmarkSettings(
            device, lengths=(1000,), slides=2, models=2, plain_models=2, folds=2, rounds=2, seed=seed
        )
    if device == "cpu":
        return BenchmarkSettings(device, seed=seed)
    return BenchmarkSettings(
        device, lengths=(4000, 13000), slides=16, models=130, plain_models=5, growth_patches=4000, seed=seed
    )


@dataclass(frozen=True)
class FullStudy:
    """All of TCGA with one encoder, trained and swept as published."""

    slides: int = 11_000
    patches: int = 143_000_000
    cohorts: int = 26
    folds: int = 5
    epochs: int = 20
    training_share: float = 0.8
