"""Scripts of a clone: each is a command, run with the clone's own package and, where it is made, its environment."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cropkt.experiments.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py") if path.name != "clone.py")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone without an environment."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "cropkt").symlink_to(ROOT / "cropkt")
    return tmp_path


def run(script: Path, *arguments: str, bare: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script from another folder; `bare`: with a Python that has no packages."""
    command = [sys.executable, *(["-S"] if bare else []), str(script), *arguments]
    return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, timeout=60, check=False)


def test_every_script_calls_a_command_of_its_own() -> None:
    called = [re.findall(r'run\("(.+)"\)', (ROOT / "scripts" / name).read_text()) for name in SCRIPTS]
    names = [name for (name,) in called]
    assert len(set(names)) == len(names)
    assert {"sweep", "train", "route", "factors", "predict", "simulate"} <= set(names) <= set(COMMANDS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_its_command_and_needs_no_installed_package(clone: Path, script: str) -> None:
    ended = run(clone / "scripts" / script, "--help", bare="simulate" not in script)
    assert ended.returncode == 0, ended.stderr
    (command,) = re.findall(r'run\("(.+)"\)', (clone / "scripts" / script).read_text())
    assert f"usage: cropkt {command} " in ended.stdout


def test_the_clones_own_package_is_used(clone: Path) -> None:
    (clone / "cropkt").unlink()
    package = clone / "cropkt" / "experiments" / "commands"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def main(given):\n    print('my own', given)\n    return 7\n")
    ended = run(clone / "scripts" / "sweep_transfer.py", "--folds", "0")
    assert (ended.returncode, ended.stdout) == (7, "my own ['sweep', '--folds', '0']\n"), ended.stderr


def test_without_packages_there_is_one_message(clone: Path) -> None:
    ended = run(clone / "scripts" / "sweep_transfer.py", bare=True)
    assert ended.returncode == 2
    assert re.fullmatch(r"error: \S+ has no package '\w+'; in a clone, run `make setup` first; .*\n", ended.stderr)


def test_the_clones_environment_is_used_where_it_has_been_made(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "of the clone: $*"\n')
    python.chmod(0o755)
    script = clone / "scripts" / "sweep_transfer.py"
    assert run(script, "--folds", "0", bare=True).stdout == f"of the clone: {script} --folds 0\n"
    assert "usage: cropkt sweep" in run(script, "--help").stdout, "this Python has all packages already"
