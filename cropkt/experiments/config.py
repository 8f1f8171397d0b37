"""The one typed configuration of a run, and the command line that makes it.

Importing this module is quick (no torch, no Ray), so that `--help` is instant.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cropkt.errors import ConfigError
from cropkt.models.names import ARCHITECTURE_NAMES, LOSS_NAMES, PRECISION_NAMES, explained
from cropkt.transfer.baselines import BASELINES

DEMO_STUDY = Path("studies/demo")
DEVICES = ("auto", "cpu", "cuda")
PROTOCOLS = ("default", "paper")


@dataclass(frozen=True)
class RunConfig:
    """What a person asked for. Codes are lower case; empty `sources`, `targets` or `folds` mean all of them."""

    study: Path | None = None
    encoder: str | None = None
    architecture: str = "abmil"
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    out: Path | None = None
    resume: bool = True
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    workers: int = 0
    strict: bool = False
    protocol: str = "default"
    loss: str = "discrete_nll"
    epochs: int = 20
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    bags_per_update: int = 16
    baselines: bool = True
    ray_address: str | None = None
    tracking: bool = True
    tracking_uri: str | None = None
    experiment: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers is {self.workers}; it must be 1 or more, or 0 to choose by the machine")
        for flag, value, known in (("protocol", self.protocol, PROTOCOLS), ("device", self.device, DEVICES)):
            if value not in known:
                raise ConfigError(f"--{flag} {value!r} is unknown; choose one of {', '.join(known)}")
        if any(fold < 0 for fold in self.folds):
            raise ConfigError(f"--folds {self.folds}: folds are counted from 0")


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def command_line(description: str, *, epilog: str | None = None, all_targets: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags that all experiment scripts share; `all_targets` gives it --targets, by default all."""
    parser = Parser(description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--study",
        type=Path,
        metavar="DIR",
        help="study folder with a study.yaml (default: the simulated demo study, made on first use)",
    )
    what.add_argument("--encoder", help="which of the study's encoders (default: its first)")
    what.add_argument(
        "--architecture",
        default="abmil",
        help=f"{explained(ARCHITECTURE_NAMES)} (default: abmil)",
    )
    what.add_argument(
        "--sources",
        type=codes,
        default=(),
        metavar="A,B",
        help="source cohorts, e.g. BRCA,kipan (default: all)",
    )
    if all_targets:
        what.add_argument("--targets", type=codes, default=(), metavar="A,B", help="target cohorts (default: all)")
    what.add_argument(
        "--folds",
        type=numbers,
        default=(),
        metavar="0,1",
        help="source folds, counted from 0 (default: all)",
    )
    what.add_argument(
        "--baselines",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"also measure the baselines: {'; '.join(BASELINES.labels().values())} (default)",
    )
    training = parser.add_argument_group("how source models are trained (published settings by default)")
    training.add_argument(
        "--protocol",
        default="default",
        help="default, or paper: as released, with its defects; docs/method.md and docs/routing.md list the "
        "differences (default: default)",
    )
    training.add_argument(
        "--loss",
        default="discrete_nll",
        help=f"{explained(LOSS_NAMES)} (default: discrete_nll)",
    )
    training.add_argument("--epochs", type=int, default=20, help="passes over a cohort's training bags (default: 20)")
    training.add_argument("--learning-rate", type=float, default=1e-4, help="peak rate of AdamW (default: 1e-4)")
    training.add_argument(
        "--weight-decay",
        type=float,
        default=1e-5,
        help="decay of matrices; biases never decay (default: 1e-5)",
    )
    training.add_argument(
        "--bags-per-update", type=int, default=16, help="patients an update averages over (default: 16)"
    )
    training.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    where = parser.add_argument_group("where it runs and what it writes")
    where.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: runs/<study>)")
    where.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what is done and still valid (default), or do the selected work again",
    )
    where.add_argument("--strict", action="store_true", help="a slide that cannot be used is an error, not a warning")
    where.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: auto)")
    where.add_argument(
        "--precision",
        default="auto",
        help=f"{explained(PRECISION_NAMES)} (default: auto)",
    )
    where.add_argument(
        "--workers", type=int, default=0, help="worker processes (default: one a GPU, or one a CPU core)"
    )
    where.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="a running Ray cluster, e.g. auto (default: start Ray on this machine)",
    )
    where.add_argument(
        "--tracking", action=argparse.BooleanOptionalAction, default=True, help="log to MLflow (default)"
    )
    where.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or store (default: MLFLOW_TRACKING_URI, else sqlite in the results folder)",
    )
    where.add_argument("--experiment", help="MLflow experiment (default: the study's name)")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> RunConfig:
    """The configuration the arguments ask for; raises ConfigError with one clear message when they make no sense."""
    return parse_with(parser, (), arguments)[0]


def parse_with(
    parser: argparse.ArgumentParser, others: Sequence[str], arguments: Sequence[str] | None = None
) -> tuple[RunConfig, dict[str, Any]]:
    """As `parse`, and the values of the flags `others` that a script has beside the shared ones."""
    chosen = vars(parser.parse_args(arguments))
    apart = {name: chosen.pop(name) for name in others}
    return RunConfig(**chosen), apart


def codes(text: str) -> tuple[str, ...]:
    """ "ACC,brca" as codes, for the command line; "all" is the empty tuple."""
    named = tuple(dict.fromkeys(code.strip().lower() for code in text.split(",") if code.strip()))
    return () if named == ("all",) else named


def numbers(text: str) -> tuple[int, ...]:
    """ "0,1,2" as numbers, for the command line."""
    try:
        return tuple(sorted({int(number) for number in text.split(",") if number.strip()}))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 0,1,2") from error
