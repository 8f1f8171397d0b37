"""What a run covers is settled, and wrong selections are refused, before anything expensive starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_studies import SmallStudy

from cropkt.errors import ConfigError, StudyError
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import select

Write = Callable[..., SmallStudy]


def test_everything_is_selected_unless_something_is_named(small_study: Write, tmp_path: Path) -> None:
    study = small_study("acc", "uvm", "kipan")
    every = select(RunConfig(study=study.folder, out=tmp_path / "out"))
    assert set(every.sources) == set(every.targets) == {"acc", "uvm", "kipan"}
    assert every.folds == (0, 1, 2)
    some = select(RunConfig(study=study.folder, sources=("uvm",), targets=("kipan", "acc"), folds=(2,)))
    assert (some.sources, set(some.targets), some.folds) == (("uvm",), {"kipan", "acc"}, (2,))


def test_paths_hold_in_workers_that_run_in_other_folders(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study("acc")
    monkeypatch.chdir(tmp_path)
    selection = select(RunConfig(study=Path("study"), out=Path("out")))
    paths = list(selection.study.cohorts["acc"].slides["path"])
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)
    assert selection.results.out == tmp_path / "out"
    named_after_the_study = select(RunConfig(study=Path("study"))).results.out
    assert named_after_the_study == tmp_path / "runs" / "small"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sources": ("luad",)}, "--sources: study small has no cohort luad; it has"),
        ({"targets": ("acc", "nowhere")}, "--targets: study small has no cohort nowhere"),
        ({"folds": (0, 7)}, "--folds names fold 7; study small has folds 0 to 2"),
        ({"architecture": "resnet"}, "architecture 'resnet' is unknown"),
        ({"loss": "mse"}, "'mse' is unknown"),
        ({"epochs": 0}, "epochs is 0"),
        ({"precision": "int4"}, "--precision 'int4' is unknown"),
    ],
)
def test_what_the_study_cannot_meet_is_refused(small_study: Write, wrong: dict, said: str) -> None:
    study = small_study("acc")
    with pytest.raises(ConfigError, match=said):
        select(RunConfig(study=study.folder, **wrong))


def test_an_encoder_the_study_lacks_is_refused(small_study: Write) -> None:
    with pytest.raises(StudyError, match="no encoder 'virchow'"):
        select(RunConfig(study=small_study("acc").folder, encoder="virchow"))
