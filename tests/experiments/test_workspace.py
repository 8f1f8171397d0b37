"""One run at a time in a results folder; nothing of Ray's stays behind."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from cropkt.errors import ConfigError
from cropkt.experiments.workspace import workspace
from cropkt.transfer.store import ResultsFolder


def test_a_second_run_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "uni2-h", "abmil")
    with workspace(results):
        with (
            pytest.raises(ConfigError, match=r"another run \(process \d+ on .+\) is writing there"),
            workspace(results),
        ):
            pass
        with workspace(ResultsFolder(tmp_path, "uni2-h", "mean")):
            pass  # another architecture in the same folder is no conflict
    with workspace(results):
        pass


def test_rays_folder_starts_empty_and_goes(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "uni2-h", "abmil")
    left = tmp_path / "ray" / "uni2-h" / "abmil" / "of a killed run"
    left.mkdir(parents=True)
    with workspace(results) as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "checkpoint").mkdir()
    assert not (tmp_path / "ray").exists()
    with pytest.raises(RuntimeError), workspace(results):
        raise RuntimeError
    assert not (tmp_path / "ray").exists()


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), workspace(ResultsFolder(tmp_path / "file", "e", "a")):
        pass


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> NoReturn:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_flock")
def test_a_file_system_without_flock_is_said_and_still_holds_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ResultsFolder(tmp_path, "uni2-h", "abmil")
    with workspace(results):
        assert "its file system has no flock" in capsys.readouterr().err
        with (
            pytest.raises(ConfigError, match=rf"another run \(process {os.getpid()} on .+\).*was killed, remove"),
            workspace(results),
        ):
            pass
    with workspace(results):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_the_folder_of_a_dead_run_is_taken_over(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "uni2-h", "abmil")
    held = results.models / ".lock-held"
    held.parent.mkdir(parents=True)
    dies = (
        f"import os; from filelock import SoftFileLock; lock = SoftFileLock({str(held)!r}); lock.acquire(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", dies], check=True)
    assert held.exists()
    with workspace(results):
        assert f"{os.getpid()}" in held.read_text()


def test_an_error_of_the_disk_is_no_missing_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), workspace(ResultsFolder(tmp_path, "uni2-h", "abmil")):
        pass
