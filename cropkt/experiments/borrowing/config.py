"""What learning curves are asked for. Quick to import, as experiments/config.py."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.experiments.config import RunConfig, group, setting, words
from cropkt.rivals import ALL, RIVALS


def sizes(text: str) -> tuple[str, ...]:
    """ "20,40,all" as sizes, for the command line."""
    found = words(text.lower())
    for size in found:
        if size != ALL and not (size.isdigit() and int(size) > 1):
            raise argparse.ArgumentTypeError(f"{size!r} is no number of patients (2 or more), nor {ALL!r}")
    return found


@dataclass(frozen=True)
class DrawsConfig:
    """Which draws, and what is compared on them."""

    patients: tuple[str, ...] = setting(
        ("20", "40", "80", "160", ALL),
        "numbers of training patients; everyone else is tested. all: the study's folds",
        read=sizes,
        metavar="N,N,all",
    )
    draws: int = setting(5, "draws of training patients for each number")
    methods: tuple[str, ...] = setting(
        (), "what is compared", read=words, metavar="A,B", choices=RIVALS.labels(), unset="all"
    )
    least_events: int = setting(0, "leave out targets with fewer events than this")
    left_out: int = setting(
        1, "targets that pan-cancer networks leave out together: more are fewer networks, trained on fewer cohorts"
    )

    def __post_init__(self) -> None:
        for flag, value in (("--draws", self.draws), ("--left-out", self.left_out)):
            if value < 1:
                raise ConfigError(f"{flag} is {value}; it must be 1 or more")
        for name in self.methods:
            refuse_unknown("--methods", name, list(RIVALS))

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the methods, "borrowed" among them: it is what the others are compared with."""
        return tuple(name for name in RIVALS if not self.methods or name in {*self.methods, "borrowed"})


@dataclass(frozen=True)
class CurveConfig(RunConfig):
    """A run, and the draws of its targets."""

    curve: DrawsConfig = group("learning curves", DrawsConfig)


@dataclass(frozen=True)
class AskedConfig:
    """Who asks from whom to borrow: a cohort of the study, or slides of their own."""

    target: str = setting("mine", "a cohort of the study; with --features, the name of the slides' cohort")
    features: Path | None = setting(
        None,
        "slides (.h5, .pt) of a cohort without outcomes",
        read=Path,
        metavar="DIR",
        unset="the study has the target",
    )
    patients: Path | None = setting(
        None, "columns patient_id and slide", read=Path, metavar="CSV", unset="every slide is a patient"
    )


@dataclass(frozen=True)
class RecommendConfig(RunConfig):
    """A run, and who asks."""

    asked: AskedConfig = group("who asks", AskedConfig)
