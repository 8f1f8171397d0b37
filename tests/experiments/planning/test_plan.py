"""What a plan counts is what a sweep does; its minutes follow from what was measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_studies import DIM, SmallStudy

from cropkt.experiments.cluster import Cluster
from cropkt.experiments.commands import main
from cropkt.experiments.config import ClusterConfig, PairsConfig, RunConfig, StudyConfig
from cropkt.experiments.planning import plan as planning
from cropkt.experiments.planning.benchmark import Speed, measure_speed
from cropkt.experiments.run import Run, prepare
from cropkt.training.sources import store_null_model, train_cohort
from cropkt.transfer.baselines import BASELINES

Write = Callable[..., SmallStudy]


def prepared(folder: Path, out: Path) -> Run:
    config = RunConfig(StudyConfig(folder, out=out), PairsConfig(sources=("acc", "uvm"), targets=("acc",)))
    return prepare(config, Cluster(config.cluster))


@pytest.fixture
def run(small_study: Write, tmp_path: Path) -> Run:
    return prepared(small_study("acc", "uvm").folder, tmp_path / "out")


def planned(run: Run, monkeypatch: pytest.MonkeyPatch, speed: Speed) -> planning.RunPlan:
    monkeypatch.setattr(planning, "measure_speed", lambda *_: speed)
    return planning.plan_run(run, Cluster(run.config.cluster))


def test_models_pairs_bytes_and_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(run, monkeypatch, Speed(1.0, 1.0, 1.0))
    assert (plan.models, plan.models_there, plan.pairs, plan.baselines) == (6, 0, 2, len(BASELINES) - 1)
    files = {code: [Path(path) for path in cohort.slides["path"]] for code, cohort in run.cohorts.items()}
    size = {code: sum(path.stat().st_size for path in paths) for code, paths in files.items()}
    assert plan.read == pytest.approx((2 * size["acc"] + size["uvm"]) / 1e9)  # acc is a source and the target
    patches = int(run.cohorts["acc"].slides["patches"].sum())
    assert plan.memory > patches * DIM * 2 / 1e9
    assert plan.memory_at in run.cohorts


def test_cohorts_that_do_not_fit_are_named_before_the_start(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(run, monkeypatch, Speed(1.0, 1.0, 1.0)).mapped == ()
    assert "do not fit" not in capsys.readouterr().out
    size = {code: int(cohort.slides["patches"].sum()) * DIM * 4 for code, cohort in run.cohorts.items()}
    cluster = ClusterConfig(memory=str(size["acc"] - 1), workers=1, precision="float32", device="cpu")
    assert size["uvm"] == size["acc"]
    small = prepare(replace(run.config, cluster=cluster), Cluster(cluster))
    assert "uvm, acc do not fit; to train and route on, they are copied to" in capsys.readouterr().out
    plan = planned(small, monkeypatch, Speed(1.0, 1.0, 1.0))
    assert plan.mapped == ("uvm", "acc")
    assert "mapped     uvm, acc: larger than a worker's part of --memory" in planning.told(plan)
    cluster = replace(cluster, memory=str(size["acc"]))
    enough = prepare(replace(run.config, cluster=cluster), Cluster(cluster))
    assert planned(enough, monkeypatch, Speed(1.0, 1.0, 1.0)).mapped == ()


def test_minutes_follow_from_the_speeds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    never = float("inf")
    epochs = run.config.training.epochs
    # Each patient is in the training set of all folds but one.
    trained = sum(int(cohort.slides["patches"].sum()) for cohort in run.cohorts.values()) * 2 * epochs
    train, measure = planned(run, monkeypatch, Speed(never, 10.0, never)).stages
    assert train.minutes == pytest.approx(trained / 10 / 60)
    assert measure.minutes * 60 == pytest.approx(10 + 0.03 * (1 + len(BASELINES)))
    _, measure = planned(run, monkeypatch, Speed(never, never, 10.0)).stages
    scored = int(run.cohorts["acc"].slides["patches"].sum()) * 2 * 3
    assert measure.minutes * 60 == pytest.approx(10 + 0.03 * (1 + len(BASELINES)) + scored / 10)


def test_repeats_are_planned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    never = float("inf")
    repeated = replace(run, config=replace(run.config, repeats=3))
    *_, repeats = planned(repeated, monkeypatch, Speed(never, 10.0, never)).stages
    assert (repeats.name, repeats.work) == ("repeats", "6 models"), "acc's own, of three folds, twice more"
    # Each patient is in the training set of two folds of three.
    trained = 2 * 2 * int(run.cohorts["acc"].slides["patches"].sum()) * run.config.training.epochs
    assert repeats.minutes == pytest.approx(trained / 10 / 60)


def test_models_that_are_there_are_not_planned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    store_null_model(run.plan)
    train_cohort(run.plan, run.cohorts["acc"], [0, 1, 2])
    plan = planned(run, monkeypatch, Speed(1.0, 1.0, 1.0))
    assert (plan.models, plan.models_there) == (3, 3)


def test_speeds_are_measured_with_the_runs_models(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cropkt.experiments.planning.benchmark.SECONDS", 0.01)
    speed = measure_speed(run.plan, list(run.cohorts["acc"].slides["path"]), 6.0, 3)
    assert min(speed.bytes_read, speed.patches_trained, speed.patches_scored) > 0
    assert not run.plan.folder.exists()  # nothing is written


def test_the_command_prints_one_json_document(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cropkt.experiments.planning.benchmark.SECONDS", 0.01)
    given = [
        "plan",
        "--study",
        str(small_study("acc", "uvm").folder),
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    assert main([*given, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pairs"] == 4
    assert main(given) == 0
    told = capsys.readouterr().out
    assert "study small: 2 cohorts, 24 patients, 12 events" in told
    assert "models     6 to train" in told
