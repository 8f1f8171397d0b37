"""What a run covers is settled, and wrong selections are refused, before anything expensive starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_studies import SmallStudy

from cropkt.errors import ConfigError, StudyError
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import select, source_plan

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


def test_the_paper_protocol_drops_partial_updates_and_the_default_keeps_them(small_study: Write) -> None:
    study = small_study("acc").folder
    assert select(RunConfig(study=study, protocol="paper")).training.drop_partial_update
    assert not select(RunConfig(study=study)).training.drop_partial_update


def test_every_training_setting_asked_for_reaches_the_plan(small_study: Write, tmp_path: Path) -> None:
    asked = {"epochs": 7, "bags_per_update": 5, "learning_rate": 3e-3, "weight_decay": 2e-2, "loss": "cox_nll"}
    config = RunConfig(study=small_study("acc").folder, out=tmp_path, architecture="mean", seed=9, strict=True, **asked)
    plan = source_plan(select(config), config, device="cpu", precision="bfloat16")
    assert {name: getattr(plan.training, name) for name in asked} == asked
    assert (plan.seed, plan.strict, plan.device, plan.precision) == (9, True, "cpu", "bfloat16")
    assert plan.folder == tmp_path / "models" / "uni2-h" / "mean"
    assert (plan.architecture.name, plan.architecture.features, plan.architecture.intervals) == ("mean", 6, 1)
    plain = RunConfig(study=config.study)
    assert source_plan(select(plain), plain, device="cpu", precision="float32").architecture.intervals == 32
