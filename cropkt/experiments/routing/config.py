"""What a routing run is asked for. Quick to import, as experiments/config.py."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from cropkt.errors import ConfigError
from cropkt.experiments.config import PairsConfig, RunConfig, codes, group, numbers, setting, words

KINDS = ("router", "fusion", "abmil")
"""What can be tuned: the router, a fusion of bag vectors, the target's own model."""


def space_file(text: str) -> tuple[str, Path]:
    """ "router=my_router.yaml" as kind and file, for the command line."""
    kind, equals, path = text.partition("=")
    if not (equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=FILE, such as router=my_router.yaml")
    return kind, Path(path)


@dataclass(frozen=True)
class RoutedPairs(PairsConfig):
    """Targets have to be named: a router is for a target."""

    targets: tuple[str, ...] = setting(
        (), "target cohorts, or all", flag="target", read=codes, metavar="A,B", required=True
    )


@dataclass(frozen=True)
class SearchConfig:
    """What is tuned, how long, and on what. `spaces`: (kind, file) pairs that replace tune_spaces/<kind>.yaml."""

    trials: int = setting(20, "trials of a search, one search per outer fold; 0: no search")
    timeout: float | None = setting(
        None, "no new trial after that, over all searches", read=float, metavar="SECONDS", unset="none"
    )
    tune: tuple[str, ...] = setting(
        ("router", "fusion"), "what is searched for, of " + ", ".join(KINDS), read=words, metavar="A,B"
    )
    spaces: tuple[tuple[str, Path], ...] = setting(
        (),
        "another search space; may be given several times",
        flag="space",
        read=space_file,
        action="append",
        metavar="KIND=FILE",
        unset="tune_spaces/KIND.yaml",
    )
    source_folds: tuple[int, ...] = setting(
        (0,),
        "which fold models make a source's expert vector; the mean of several; 0 as published",
        read=numbers,
        metavar="0,1",
    )
    inner_folds: int = setting(3, "inner splits that settings are judged on")

    def __post_init__(self) -> None:
        for kind in (*self.tune, *dict(self.spaces)):
            if kind not in KINDS:
                raise ConfigError(f"{kind!r} cannot be tuned; choose of {', '.join(KINDS)}")
        for kind in dict(self.spaces):
            if kind not in self.tune or not self.trials:
                raise ConfigError(f"--space {kind}: no {kind} is searched for; see --tune and --trials")
        if self.trials < 0 or self.inner_folds < 2 or not self.source_folds:
            raise ConfigError("--trials must be 0 or more, --inner-folds 2 or more, --source-folds name a fold")
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigError(f"--timeout is {self.timeout:g}; it must be above 0 seconds")


@dataclass(frozen=True)
class RoutingConfig(RunConfig):
    """A run, and the searches for its targets' routers. `pairs.folds` are those of the source models."""

    pairs: PairsConfig = group("which pairs", RoutedPairs)
    search: SearchConfig = group("routing", SearchConfig)
