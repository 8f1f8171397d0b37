"""The command line: what it understands, what it refuses, and that it answers at once."""

import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from cropkt.errors import ConfigError, InputError
from cropkt.experiments.command import run_command
from cropkt.experiments.commands import COMMANDS
from cropkt.experiments.config import (
    FactorsConfig,
    RunConfig,
    command_line,
    flag_of,
    parse,
    settings_of,
)
from cropkt.experiments.routing.config import RoutedPairs, RoutingConfig, SearchConfig

ROOT = Path(__file__).resolve().parents[2]


def parsed(*arguments: str) -> RunConfig:
    return parse(RunConfig, command_line(RunConfig, "test"), arguments)


def test_nothing_said_is_the_published_training_of_everything() -> None:
    config = parsed()
    assert config == RunConfig()
    assert (config.study.folder, config.pairs.sources, config.pairs.targets, config.pairs.folds) == (None, (), (), ())
    training = config.training
    assert (training.epochs, training.learning_rate, training.weight_decay) == (20, 1e-4, 1e-5)
    assert (training.bags_per_update, training.loss) == (16, "discrete_nll")
    assert config.resume
    assert config.tracking.wanted
    assert config.pairs.baselines
    assert not config.strict


def test_selections_are_read_in_any_case_and_once() -> None:
    config = parsed("--sources", "BRCA, kipan,brca", "--targets", "all", "--folds", "3,0,3", "--no-resume")
    assert (config.pairs.sources, config.pairs.targets, config.pairs.folds) == (("brca", "kipan"), (), (0, 3))
    assert not config.resume


def test_a_router_is_for_a_target_that_is_named() -> None:
    def routed(*arguments: str) -> RoutingConfig:
        return parse(RoutingConfig, command_line(RoutingConfig, "test"), arguments)

    spaces = ["--space", "router=a.yaml", "--space", "fusion=b.yaml"]
    config = routed("--target", "ACC,uvm", "--timeout", "60", "--source-folds", "1,0", *spaces)
    assert config.pairs.targets == ("acc", "uvm")
    assert config.search == SearchConfig(
        timeout=60.0, source_folds=(0, 1), spaces=(("router", Path("a.yaml")), ("fusion", Path("b.yaml")))
    )
    assert routed("--target", "all").pairs.targets == ()
    for wrong, said in (
        ([], "--target"),
        (["--target", "acc", "--targets", "uvm"], "--targets"),
        (["--target", "acc", "--tune", "gate"], "'gate' cannot be tuned"),
        (["--target", "acc", "--tune", "fusion", "--space", "router=a.yaml"], "no router is searched for"),
        (["--target", "acc", "--space", "a.yaml"], "'a.yaml' is not KIND=FILE"),
        (["--target", "acc", "--timeout", "0"], "--timeout is 0"),
        (["--target", "acc", "--inner-folds", "1"], "--inner-folds 2 or more"),
    ):
        with pytest.raises(ConfigError, match=said):
            routed(*wrong)


OTHER = {
    "memory": "8GB",
    "study": "elsewhere",
    "encoder": "other",
    "out": "there",
    "ray-address": "auto",
    "tracking-uri": "sqlite:///x",
}
OTHER |= {"experiment": "mine", "architecture": "max", "loss": "cox_nll", "device": "cpu", "precision": "float32"}
OTHER |= {"memory": "8GB"}
OTHER |= {"protocol": "paper", "sources": "acc", "targets": "acc", "target": "acc", "folds": "1", "timeout": "9"}
OTHER |= {"tune": "router", "space": "router=mine.yaml", "source-folds": "1", "explain": "acc"}


@pytest.mark.parametrize("kind", [RunConfig, RoutingConfig, FactorsConfig])
def test_every_flag_sets_its_field_and_its_help_says_the_default(kind: type) -> None:
    needed = ["--target", "uvm"] if kind is RoutingConfig else []
    parser = command_line(kind, "test")
    text = " ".join(parser.format_help().split())
    assert parse(kind, parser, needed) == (kind() if not needed else kind(pairs=RoutedPairs(targets=("uvm",))))
    plain = flat(parse(kind, parser, needed))
    for _, item in settings_of(kind):
        flag = flag_of(item)
        if isinstance(item.default, bool):
            given, shown = [f"--{'no-' if item.default else ''}{flag}"], f"--{'' if item.default else 'no-'}{flag}"
        else:
            given = [f"--{flag}", OTHER.get(flag) or str(item.default + 2)]
            shown = str(item.metadata.get("unset") or item.default)
        if isinstance(item.default, tuple) and item.default:
            shown = ",".join(map(str, item.default))
        assert f"--{flag}" in text
        assert item.metadata["help"] in text
        if not item.metadata.get("required"):
            assert f"(default: {shown})" in text
        changed = flat(parse(kind, parser, [*needed, *given]))
        assert {name for name in plain if changed[name] != plain[name]} == {item.name}, flag


def flat(config: Any) -> dict[str, Any]:
    """The settings by the name of their field, those of groups among them."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        found |= flat(value) if is_dataclass(value) else {item.name: value}
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folds", "one"], "'one' is not a list of whole numbers"),
        (["--folds", "-1"], "--folds"),
        (["--epochs", "many"], "--epochs"),
        (["--workers", "-2"], "--workers is -2"),
        (["--device", "tpu"], "--device 'tpu' is unknown; did you mean 'cpu'\\? choose one of auto, cpu, cuda"),
        (
            ["--protocol", "papers"],
            "--protocol 'papers' is unknown; did you mean 'paper'\\? choose one of default, paper",
        ),
        (["--device", "mps"], "--device mps: Apple's GPU is not used, because Ray hands out none"),
        (["--sorces", "acc"], "--sorces"),
    ],
)
def test_wrong_arguments_are_one_clear_error(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed(*arguments)


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (InputError("the input is wrong"), 2, "error: the input is wrong\n"),
        (KeyboardInterrupt(), 130, "\nstopped; run the same command again to go on from here\n"),
    ],
)
def test_exit_codes(outcome: int | BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    assert run_command(command) == code
    assert capsys.readouterr().err == said


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_a_package_that_is_missing_is_one_message_and_a_fault_of_ours_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command(name: str) -> int:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert run_command(lambda: command("torch.nn")) == 2
    assert "has no package 'torch'; in a clone, run `make setup` first" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        run_command(lambda: command("cropkt.nowhere"))


HELP = """
import sys, time
from cropkt.experiments.commands import main
try:
    main([*sys.argv[1:], "--help"])
except SystemExit as end:
    slow = sorted({"torch", "ray", "mlflow", "pandas", "matplotlib", "optuna", "scipy"} & set(sys.modules))
    assert not slow, slow
    assert end.code == 0, end.code
    print(time.process_time(), file=sys.stderr)
"""


def helped(*command: str) -> tuple[str, float]:
    """What --help prints, and the processor time it takes (s)."""
    result = subprocess.run(
        [sys.executable, "-c", HELP, *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, float(result.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy_and_explains_every_flag(command: str) -> None:
    shown, seconds = helped(command)
    assert f"usage: cropkt {command} " in shown
    assert [line for line in shown.splitlines() if line.strip().startswith("--")]
    assert seconds < 0.3
    if command in ("sweep", "train", "route"):
        assert "Exit code: 0 done, 1" in shown
        shared = "study encoder architecture sources target folds out resume seed device ray-address tracking-uri"
        assert all(f"--{name}" in shown for name in [*shared.split(), "no-resume", "experiment"])


def test_the_command_names_its_subcommands_at_once() -> None:
    shown, seconds = helped()
    assert all(any(line.startswith(f"  {name} ") for line in shown.splitlines()) for name in COMMANDS)
    assert seconds < 0.3
