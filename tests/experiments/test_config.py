"""The command line: what it understands, what it refuses, and that it answers at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from cropkt.errors import ConfigError, InputError
from cropkt.experiments.command import run_command
from cropkt.experiments.config import RunConfig, command_line, parse

ROOT = Path(__file__).resolve().parents[2]


def parsed(*arguments: str) -> RunConfig:
    return parse(command_line("test"), arguments)


def test_nothing_said_is_the_published_training_of_everything() -> None:
    config = parsed()
    assert config == RunConfig()
    assert (config.study, config.sources, config.targets, config.folds) == (None, (), (), ())
    assert (config.epochs, config.learning_rate, config.weight_decay, config.bags_per_update) == (20, 1e-4, 1e-5, 16)
    assert config.resume
    assert config.tracking
    assert config.baselines


def test_selections_are_read_in_any_case_and_once() -> None:
    config = parsed("--sources", "BRCA, kipan,brca", "--targets", "all", "--folds", "3,0,3", "--no-resume")
    assert (config.sources, config.targets, config.folds) == (("brca", "kipan"), (), (0, 3))
    assert not config.resume


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folds", "one"], "'one' is not a list of whole numbers"),
        (["--folds", "-1"], "--folds"),
        (["--epochs", "many"], "--epochs"),
        (["--workers", "-2"], "--workers is -2"),
        (["--device", "tpu"], "--device 'tpu' is unknown; choose one of auto, cpu, cuda"),
        (["--protocol", "papers"], "--protocol 'papers' is unknown; choose one of default, paper"),
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


HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    slow = sorted({"torch", "ray", "mlflow", "pandas", "matplotlib", "optuna"} & set(sys.modules))
    assert not slow, slow
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("script", ["train_sources.py", "sweep_transfer.py", "log_results.py"])
def test_help_loads_nothing_heavy_and_explains_every_flag(script: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", HELP, str(ROOT / "scripts" / script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    flags = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("--")]
    assert flags
    if script != "log_results.py":
        assert "Exit code: 0 done, 1" in result.stdout
        shared = "study encoder architecture sources targets folds out resume seed device ray-address tracking-uri"
        assert all(f"--{name}" in result.stdout for name in [*shared.split(), "no-resume", "experiment"])
