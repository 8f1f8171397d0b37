"""What a run covers is settled, and wrong selections are refused, before anything expensive starts."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_studies import SmallStudy

from cropkt.errors import ConfigError, StudyError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import ClusterConfig, PairsConfig, RunConfig, StudyConfig, command_line, parse
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.training.config import TrainingConfig
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.current import study_folder

Write = Callable[..., SmallStudy]


def prepared(config: RunConfig) -> Run:
    return prepare(config, Cluster(config.cluster))


def test_everything_is_selected_unless_something_is_named(small_study: Write, tmp_path: Path) -> None:
    study = StudyConfig(small_study("acc", "uvm", "kipan").folder, out=tmp_path / "out")
    every = prepared(RunConfig(study))
    assert set(every.sources) == set(every.targets) == {"acc", "uvm", "kipan"}
    assert every.folds == (0, 1, 2)
    some = prepared(RunConfig(study, PairsConfig(sources=("uvm",), targets=("kipan", "acc"), folds=(2,))))
    assert (some.sources, set(some.targets), some.folds) == (("uvm",), {"kipan", "acc"}, (2,))


def test_pairs_come_target_by_target_and_baselines_with_them(small_study: Write) -> None:
    config = RunConfig(StudyConfig(small_study("acc", "uvm").folder), PairsConfig(sources=("uvm",)))
    run = prepared(config)
    first, baselines = run.targets[0], [name for name in BASELINES if name != "pan_cancer"]
    assert run.pairs()[: 1 + len(baselines)] == [(source, first) for source in ("uvm", *baselines)]
    assert [target for _, target in run.pairs()] == sorted((t for _, t in run.pairs()), key=run.targets.index)
    without = replace(run, config=replace(config, pairs=replace(config.pairs, baselines=False)))
    assert without.pairs() == [("uvm", target) for target in run.targets]
    asked = replace(config.pairs, baselines=False, pan_cancer=True)
    networks = replace(run, config=replace(config, pairs=asked))
    assert networks.pairs() == [(source, target) for target in run.targets for source in ("uvm", "pan_cancer")]


def test_paths_hold_in_workers_that_run_in_other_folders(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_study("acc")
    monkeypatch.chdir(tmp_path)
    run = prepared(RunConfig(StudyConfig(Path("study"), out=Path("out"))))
    paths = list(run.cohorts["acc"].slides["path"])
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)
    assert run.results.out == tmp_path / "out"
    named_after_the_study = prepared(RunConfig(StudyConfig(Path("study")))).results.out
    assert named_after_the_study == tmp_path / "runs" / "small"


def test_a_results_folder_knows_its_study_also_after_a_move_of_both(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, place = small_study("acc").folder, tmp_path / "place"
    place.mkdir()
    study.rename(place / "study")
    claim_results(prepared(RunConfig(StudyConfig(place / "study", out=place / "out"))))
    place.rename(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert prepared(RunConfig(StudyConfig(out=Path("other/out")))).study.folder == tmp_path / "other" / "study"
    (tmp_path / "other" / "study").rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match="name it with --study"):
        prepared(RunConfig(StudyConfig(out=Path("other/out"))))
    assert study_folder(tmp_path / "nothing") is None


def test_a_run_is_whole_after_the_way_to_a_worker(small_study: Write) -> None:
    run = prepared(RunConfig(StudyConfig(small_study("acc", "uvm").folder)))
    there: Run = pickle.loads(pickle.dumps(run))
    assert (there.config, there.plan, there.pairs()) == (run.config, run.plan, run.pairs())
    for pair in (("acc", "uvm"), ("random", "acc")):
        assert there.fingerprint(*pair) == run.fingerprint(*pair)


def test_a_fingerprint_changes_with_what_decides_the_pair_and_with_nothing_else(small_study: Write) -> None:
    run = prepared(RunConfig(StudyConfig(small_study("acc", "uvm").folder)))
    assert len({run.fingerprint(source, target) for source, target in run.pairs()}) == len(run.pairs())
    other_seed = replace(run, plan=replace(run.plan, seed=1))
    other_folds = replace(run, folds=(0, 1))
    elsewhere = replace(run, sources=("acc",), config=replace(run.config, resume=False))
    assert other_seed.fingerprint("acc", "uvm") != run.fingerprint("acc", "uvm")
    assert other_seed.fingerprint("random", "uvm") != run.fingerprint("random", "uvm")
    assert other_folds.fingerprint("acc", "uvm") != run.fingerprint("acc", "uvm")
    assert elsewhere.fingerprint("acc", "uvm") == run.fingerprint("acc", "uvm")


def test_the_plan_is_what_was_asked_for(small_study: Write) -> None:
    flags = ["--study", str(small_study("acc").folder), "--protocol", "paper", "--loss", "cox_nll", "--epochs", "3"]
    flags += ["--seed", "5", "--precision", "bfloat16", "--strict", "--architecture", "max"]
    plan = prepared(parse(RunConfig, command_line(RunConfig, "test"), flags)).plan
    assert plan.training == TrainingConfig(epochs=3, loss="cox_nll", drop_partial_update=True)
    assert (plan.architecture.name, plan.architecture.intervals, plan.architecture.features) == ("max", 1, 6)
    assert (plan.seed, plan.precision, plan.strict, plan.device) == (5, "bfloat16", True, "cpu")
    ours = prepared(parse(RunConfig, command_line(RunConfig, "test"), flags[:2])).plan
    assert ours.training == TrainingConfig()
    assert not ours.training.drop_partial_update


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sources", "luad"], "--sources: study small has no cohort luad; it has"),
        (["--targets", "acc,nowhere"], "--targets: study small has no cohort nowhere"),
        (["--folds", "0,7"], "--folds names fold 7; study small has folds 0 to 2"),
        (["--architecture", "resnet"], "architecture 'resnet' is unknown"),
        (["--loss", "mse"], "'mse' is unknown"),
        (["--epochs", "0"], "epochs is 0"),
        (["--precision", "int4"], "--precision 'int4' is unknown"),
    ],
)
def test_what_the_study_cannot_meet_is_refused(small_study: Write, flags: list[str], said: str) -> None:
    study = small_study("acc")
    with pytest.raises(ConfigError, match=said):
        prepared(parse(RunConfig, command_line(RunConfig, "test"), ["--study", str(study.folder), *flags]))


def test_an_encoder_the_study_lacks_is_refused(small_study: Write) -> None:
    with pytest.raises(StudyError, match="no encoder 'virchow'"):
        prepared(RunConfig(StudyConfig(small_study("acc").folder, encoder="virchow")))


def test_cuda_is_refused_before_anything_is_written(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = RunConfig(StudyConfig(small_study("acc").folder, out=tmp_path / "out"), cluster=ClusterConfig("cuda"))
    with pytest.raises(ConfigError, match="--device cuda: this machine has no CUDA device"):
        prepared(config)
    assert not (tmp_path / "out").exists()
