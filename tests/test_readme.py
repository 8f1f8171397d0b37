"""The README's Python example does what it says, on a small study; pages name commands and flags that are there."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import cropkt
from cropkt.experiments.commands import COMMANDS, main
from cropkt.simulation.config import SimulationConfig
from cropkt.simulation.study import simulate_study

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.system
def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    assert len(example.group(1).strip().splitlines()) <= 13
    small = SimulationConfig(cohorts=("lihc", "chol"), patients=0.4, patches=(4, 8), dim=16)
    simulate_study(tmp_path / "studies" / "demo", small)
    done = subprocess.run(
        [sys.executable, "-c", example.group(1)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"C-index \d\.\d\d, \d+ events\n", done.stdout)


def test_every_public_name_is_there_and_imported_when_asked_for() -> None:
    assert all(getattr(cropkt, name) is not None for name in cropkt.__all__)
    assert set(cropkt.__all__) == set(cropkt._PLACES)
    code = "import sys, cropkt; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules); cropkt.open_study"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(page: Path) -> list[str]:
    """The lines of a page's plain code blocks that are commands of ours, without comments."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"(\S+/)?(cropkt|python3?) ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_our_pages_are_there_and_know_their_flags(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands_of(page):
        words = shlex.split(line)
        name = Path(words[0]).name
        if name == "cropkt":
            given = words[1:]
        elif len(words) > 1 and words[1].startswith("scripts/"):
            assert words[0] == "python3" or "/" in words[0], f"{line}: a machine may have no python, but python3"
            (command,) = re.findall(r'run\("(.+)"\)', (ROOT / words[1]).read_text())
            given = [command, *words[2:]]
        else:
            continue
        assert given[0] in COMMANDS, line
        flags = {word.partition("=")[0] for word in given if re.match(r"--[a-z]", word)}
        library = ["--library=x"] if "--library" in flags else []
        inner = given[1:2] if given[0] == "library" or given[0].startswith("check-") else library
        known = help_of([given[0], *inner], capsys)
        assert not {flag for flag in flags if flag not in known} - {"--quiet", "--verbose", "--json", "--help"}, line


def help_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out
