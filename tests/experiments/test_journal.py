"""What a run leaves behind: log.txt, run.json, and as much on the screen as was asked for."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cropkt.errors import InputError
from cropkt.experiments import commands
from cropkt.experiments.command import run_command
from cropkt.experiments.commands import main
from cropkt.experiments.journal import Voice, git_commit, keep_in, note, voice

ROOT = Path(__file__).resolve().parents[2]
SAYING = """
import sys
from pathlib import Path
from types import SimpleNamespace
from cropkt.experiments import commands
from cropkt.experiments.journal import keep_in, note
from cropkt.experiments.progress import stage

def work(given):
    print("opening")
    keep_in(Path(sys.argv[1]))
    note(study="small")
    note(counts={"pairs": 4})
    print("warning: a slide was left out")
    with stage("transfer", 4, "pairs") as line:
        line.advance("target acc", by=4)
        line.say("warning: said above the bar")
    print("4 of 4 pairs measured")
    exec(sys.argv[2])
    return 0

commands._module = lambda name: SimpleNamespace(main=work)
sys.exit(commands.main(["sweep", *sys.argv[3:]]))
"""


def run(out: Path, *flags: str, then: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SAYING, str(out), then, *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def entries(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "run.json").read_text())["runs"]


def lines(out: Path) -> list[str]:
    """The lines of log.txt, each of which has a time in front."""
    found = [re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d  (.+)", line) for line in log(out)]
    assert all(found)
    return [match[1] for match in found if match]


def log(out: Path) -> list[str]:
    return (out / "log.txt").read_text().splitlines()


def test_everything_said_is_in_the_log_with_times_and_the_run_in_its_record(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (0, "opening")
    said = ["opening", "warning: a slide was left out", "warning: said above the bar", "4 of 4 pairs measured"]
    assert lines(tmp_path) == said, "also what was said before the folder was known"
    (entry,) = entries(tmp_path)
    assert entry["command"] == ["cropkt", "sweep"]
    assert (entry["exit_code"], entry["study"], entry["counts"]) == (0, "small", {"pairs": 4})
    assert entry["versions"]["torch"]
    assert entry["git_commit"] == git_commit()
    assert entry["started"] <= entry["ended"]


def test_runs_follow_each_other_and_a_killed_one_has_no_end(tmp_path: Path) -> None:
    run(tmp_path, then="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    run(tmp_path, then="raise ZeroDivisionError")
    run(tmp_path)
    assert [entry["exit_code"] for entry in entries(tmp_path)] == [None, 1, 0]
    assert [entry["ended"] is None for entry in entries(tmp_path)] == [True, False, False]
    assert "ZeroDivisionError" in lines(tmp_path)
    assert lines(tmp_path).count("opening") == 3


def test_quiet_says_what_is_wrong_and_the_log_says_all(tmp_path: Path) -> None:
    ended = run(tmp_path, "--quiet")
    assert (ended.stdout, ended.stderr) == ("warning: a slide was left out\n", "warning: said above the bar\n")
    assert "4 of 4 pairs measured" in lines(tmp_path)


def test_verbose_tells_of_each_piece_of_work(tmp_path: Path) -> None:
    assert "transfer: 4/4 pairs" in run(tmp_path, "--verbose").stderr


def test_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    ended = run(tmp_path, "--json")
    assert json.loads(ended.stdout) == entries(tmp_path)[-1]
    assert "4 of 4 pairs measured" in ended.stderr


def test_sigterm_is_one_sentence_and_143(tmp_path: Path) -> None:
    then = "import time; print('waiting', flush=True); time.sleep(60)"
    command = [sys.executable, "-u", "-c", SAYING, str(tmp_path), then]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "waiting" not in (tmp_path / "log.txt").read_text() if (tmp_path / "log.txt").exists() else True:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "stopped by SIGTERM; run the same command again to go on from here"
    assert "Traceback" not in errors
    assert entries(tmp_path)[-1]["exit_code"] == 143


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("then", ["for n in range(20000): print(n)", "", "raise SystemExit(0)"])
def test_a_reader_who_has_gone_ends_a_command_without_a_word(
    tmp_path: Path, then: str, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reads, writes = os.pipe()
    os.close(reads)  # as `| head` does when it has its lines
    command = [sys.executable, "-c", SAYING, str(tmp_path), then]
    ended = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writes)
    assert ended.returncode == 141
    assert "BrokenPipe" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_pipe_that_breaks_is_a_fault() -> None:
    def talks_to_a_server() -> int:
        raise BrokenPipeError("of a connection")

    with pytest.raises(BrokenPipeError, match="of a connection"):
        run_command(talks_to_a_server)


def test_a_line_a_minute_where_there_is_no_terminal(tmp_path: Path) -> None:
    slow = (
        "import time, cropkt.experiments.progress as progress; progress.EVERY = 0.05\n"
        "with progress.stage('search', 9, 'trials') as line:\n"
        "    line.advance('acc, fold 1', by=3); time.sleep(0.5)"
    )
    found = [line for line in run(tmp_path, then=slow).stderr.splitlines() if line.startswith("search: 3/9 trials, ")]
    assert len(found) >= 2
    assert found[0].endswith("left, acc, fold 1")
    assert found[0] in lines(tmp_path)


def test_bad_input_leaves_nothing_where_no_folder_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    class Wrong:
        @staticmethod
        def main(_: list[str]) -> int:
            raise InputError("the study is wrong")

    monkeypatch.setattr(commands, "_module", lambda _: Wrong)
    assert main(["sweep"]) == 2
    assert "error: the study is wrong" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_flags_that_contradict_each_other_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--quiet", "--verbose"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_windows_is_told_of_wsl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["sweep"]) == 2
    assert "WSL2" in capsys.readouterr().err


def test_outside_a_command_nothing_is_kept(tmp_path: Path) -> None:
    note(study="small")
    keep_in(tmp_path)
    assert voice() == Voice()
    assert os.listdir(tmp_path) == []
