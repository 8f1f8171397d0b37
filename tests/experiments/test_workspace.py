"""One run at a time in a results folder; nothing of Ray's stays behind."""

from pathlib import Path

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
