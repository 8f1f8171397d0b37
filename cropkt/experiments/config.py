"""The typed configuration of a run, in groups, and the command line that makes it.

A flag is a field: its name, default, type and help text are written once, in the dataclass (`setting`), and
`command_line` and `parse` read them there. Importing this module is quick (no torch, no Ray), so that `--help` is
instant.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cropkt.data.streams.memory import budget
from cropkt.errors import ConfigError, refuse_unknown
from cropkt.experiments.journal import VOICE_HELP
from cropkt.factors.config import FactConfig
from cropkt.models.names import ARCHITECTURE_NAMES, PRECISION_NAMES, explained
from cropkt.training.config import PAN_CANCER, TrainingConfig
from cropkt.transfer.baselines import BASELINES

DEMO_STUDY = Path("studies/demo")
DEVICES = ("auto", "cpu", "cuda")
PROTOCOLS = ("default", "paper")

Config = TypeVar("Config")


def codes(text: str) -> tuple[str, ...]:
    """ "ACC,brca" as codes, for the command line; "all" is the empty tuple."""
    named = tuple(code.lower() for code in words(text))
    return () if named == ("all",) else tuple(dict.fromkeys(named))


def words(text: str) -> tuple[str, ...]:
    """ "router,fusion" as words, for the command line."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def numbers(text: str) -> tuple[int, ...]:
    """ "0,1,2" as numbers, for the command line."""
    try:
        return tuple(sorted({int(number) for number in text.split(",") if number.strip()}))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 0,1,2") from error


def setting(default: Any, help: str, **more: Any) -> Any:
    """A field that is a flag.

    `more`: `flag` where it is not called as the field is; `read`, which makes the value of the text (default: the
    default's type); `metavar`; `choices`, shown in the help and checked by whoever owns them; `unset`, which says in
    the help what None or empty means; `required`; `action`.
    """
    return field(default=default, metadata={"help": help, **more})


def group(title: str, kind: type, **more: Any) -> Any:
    """A field that holds a dataclass of settings; `title` heads its flags in the help. `more` as for a field."""
    return field(default_factory=kind, metadata={"title": title, "kind": kind}, **more)


@dataclass(frozen=True)
class StudyConfig:
    """Which study, features and architecture, and where the results are."""

    folder: Path | None = setting(
        None,
        "study folder with a study.yaml",
        flag="study",
        read=Path,
        metavar="DIR",
        unset="the one that --out holds results of, else the simulated demo study, made on first use",
    )
    encoder: str | None = setting(None, "which of the study's encoders", read=str, unset="its first")
    architecture: str = setting("abmil", "model of the bags", choices=ARCHITECTURE_NAMES)
    out: Path | None = setting(None, "results folder", read=Path, metavar="DIR", unset="runs/<study>")


@dataclass(frozen=True)
class PairsConfig:
    """Which pairs. Codes are lower case; empty tuples mean all."""

    sources: tuple[str, ...] = setting((), "source cohorts, e.g. BRCA,kipan", read=codes, metavar="A,B", unset="all")
    targets: tuple[str, ...] = setting((), "target cohorts", read=codes, metavar="A,B", unset="all")
    folds: tuple[int, ...] = setting((), "source folds, counted from 0", read=numbers, metavar="0,1", unset="all")
    baselines: bool = setting(
        True,
        "also measure the baselines: "
        + ", ".join(label for name, label in BASELINES.labels().items() if name != PAN_CANCER),
    )
    pan_cancer: bool = setting(
        False,
        "also train networks on all other cohorts together, for each target, and measure them as one more source",
    )

    def __post_init__(self) -> None:
        if any(fold < 0 for fold in self.folds):
            raise ConfigError(f"--folds {self.folds}: folds are counted from 0")


@dataclass(frozen=True)
class ClusterConfig:
    """Where the work is done."""

    device: str = setting("auto", "auto is cuda where there is one", choices=DEVICES)
    precision: str = setting(
        "auto", "auto is bfloat16 where the device multiplies it natively", choices=PRECISION_NAMES
    )
    workers: int = setting(0, "worker processes", unset="one per GPU, or one per CPU core")
    memory: str | None = setting(
        None,
        "memory that patches may fill on each machine (on each GPU), all its workers together: 8GB, 500MiB, 40%",
        read=str,
        metavar="SIZE",
        unset="half of what there is",
    )
    ray_address: str | None = setting(
        None, "a running Ray cluster, e.g. auto", read=str, metavar="ADDRESS", unset="start Ray on this machine"
    )

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers is {self.workers}; it must be 1 or more, or 0 to choose by the machine")
        if self.device == "mps":
            raise ConfigError(
                "--device mps: Apple's GPU is not used, because Ray hands out none and no result has been checked on "
                "it; use --device cpu"
            )
        if self.memory is not None:
            budget(self.memory)
        refuse_unknown("--device", self.device, DEVICES)
        refuse_unknown("--precision", self.precision, list(PRECISION_NAMES))


@dataclass(frozen=True)
class TrackingConfig:
    """Whether and where MLflow logs."""

    wanted: bool = setting(True, "log to MLflow", flag="tracking")
    uri: str | None = setting(
        None,
        "MLflow server or store",
        flag="tracking-uri",
        read=str,
        metavar="URI",
        unset="MLFLOW_TRACKING_URI, else sqlite in the results folder",
    )
    experiment: str | None = setting(None, "MLflow experiment", read=str, unset="the sweep's, else the study's name")


@dataclass(frozen=True)
class RunConfig:
    """What a person asked for."""

    study: StudyConfig = group("what to work on", StudyConfig)
    pairs: PairsConfig = group("which pairs", PairsConfig)
    training: TrainingConfig = group("how source models are trained (published settings by default)", TrainingConfig)
    cluster: ClusterConfig = group("where it runs", ClusterConfig)
    tracking: TrackingConfig = group("what is logged", TrackingConfig)
    protocol: str = setting(
        "default",
        "paper is as released, with its defects; docs/method.md and docs/routing.md list the differences",
        choices=PROTOCOLS,
    )
    seed: int = setting(0, "seed of everything random")
    repeats: int = setting(
        1,
        "cross-validations of what a cohort trains on its own patients, each with splits, starts and seeds of its own: "
        "with 3 or more, comparisons with it cover the luck of training",
    )
    resume: bool = setting(True, "keep what is done and still valid, or do the selected work again")
    strict: bool = setting(False, "a slide that cannot be used is an error, not a warning")

    def __post_init__(self) -> None:
        refuse_unknown("--protocol", self.protocol, PROTOCOLS)
        if self.repeats < 1:
            raise ConfigError(f"--repeats is {self.repeats}; it must be 1 or more")


@dataclass(frozen=True)
class FactorsConfig:
    """What a factor analysis is asked for."""

    study: StudyConfig = group("what to work on", StudyConfig)
    facts: FactConfig = group("what is looked at", FactConfig)
    tracking: TrackingConfig = group("what is logged", TrackingConfig)
    explain: tuple[str, ...] = setting(
        (), "cohorts to make a page about, e.g. sarc", read=codes, metavar="A,B", unset="none"
    )
    permutations: int = setting(1999, "orders of the labels a test draws")


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print its usage and exit; keeps the lines of description and epilog."""

    def __init__(self, description: str, *, epilog: str | None = None, prog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog="\n\n".join([*([epilog.strip("\n")] if epilog else []), VOICE_HELP]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def flag_of(item: "Field[Any]") -> str:
    """The flag of a field, without its dashes."""
    return str(item.metadata.get("flag", item.name.replace("_", "-")))


def settings_of(kind: Any) -> "Iterator[tuple[str | None, Field[Any]]]":
    """(title of the group, field) of every flag of the dataclass `kind`, those of its groups included."""
    for item in fields(kind):
        if "title" in item.metadata:
            yield from ((inner or item.metadata["title"], found) for inner, found in settings_of(item.metadata["kind"]))
        elif "help" in item.metadata:
            yield None, item


def command_line(kind: type, description: str, *, epilog: str | None = None, prog: str | None = None) -> Parser:
    """A parser with a flag for each setting of the dataclass `kind`; `parse` makes a `kind` of what it reads."""
    parser = Parser(description, epilog=epilog, prog=prog)
    places: dict[str | None, Any] = {None: parser}
    for title, item in settings_of(kind):
        if title not in places:
            places[title] = parser.add_argument_group(title)
        _add_flag(places[title], item)
    return parser


def _add_flag(place: Any, item: "Field[Any]") -> None:
    given, flag = item.metadata, flag_of(item)
    # No default here: what is not given is left to the dataclass.
    options: dict[str, Any] = {"dest": flag, "default": argparse.SUPPRESS, "help": _help(item)}
    if isinstance(item.default, bool):
        place.add_argument(f"--{flag}", action=argparse.BooleanOptionalAction, **options)
        return
    read: Callable[[str], Any] = given.get("read", type(item.default))
    options |= {name: given[name] for name in ("metavar", "action", "required") if name in given}
    place.add_argument(f"--{flag}", type=read, **{"metavar": flag.upper().replace("-", "_"), **options})


def _help(item: "Field[Any]") -> str:
    given, default = item.metadata, item.default
    if given.get("required"):
        shown = ""
    elif isinstance(default, bool):
        shown = f"--{'' if default else 'no-'}{flag_of(item)}"
    else:
        shown = str(given.get("unset") or (",".join(map(str, default)) if isinstance(default, tuple) else default))
    text = given["help"] + (f": {_choices(given['choices'])}" if "choices" in given else "")
    return (f"{text} (default: {shown})" if shown else text).replace("%", "%%")


def _choices(choices: Sequence[str] | Mapping[str, str]) -> str:
    """The names, with their labels where they have some."""
    return explained(choices) if isinstance(choices, Mapping) else ", ".join(choices)


def parse(kind: type[Config], parser: Parser, arguments: Sequence[str] | None = None) -> Config:
    """The `kind` that `arguments` ask for; raises ConfigError with one clear message when they make no sense."""
    return _made(kind, vars(parser.parse_args(arguments)))


def _made(kind: type[Config], chosen: dict[str, Any]) -> Config:
    values = {}
    for item in fields(kind):  # type: ignore[arg-type]
        if "title" in item.metadata:
            values[item.name] = _made(item.metadata["kind"], chosen)
        elif "help" in item.metadata and flag_of(item) in chosen:
            value = chosen[flag_of(item)]
            values[item.name] = tuple(value) if isinstance(value, list) else value  # argparse appends to a list
    return kind(**values)
