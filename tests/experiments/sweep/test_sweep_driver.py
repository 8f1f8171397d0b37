"""What a routing run finds missing in a sweep, and what it does about it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.errors import StudyError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import ClusterConfig, PairsConfig, RunConfig, StudyConfig, TrackingConfig
from cropkt.experiments.run import Run, prepare
from cropkt.experiments.sweep import driver
from cropkt.experiments.sweep.trial import PairTrial, SweepJob, read_target
from cropkt.files import read_json, write_json
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.assemble import write_tables
from cropkt.transfer.measure_baseline import measure_baseline
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.store import store_failure

CLUSTER = Cluster(ClusterConfig("cpu", "float32"))


@pytest.fixture
def config(small_study: Callable[..., SmallStudy], tmp_path: Path) -> RunConfig:
    study = StudyConfig(small_study("acc", "uvm").folder, out=tmp_path / "out")
    return RunConfig(
        study, PairsConfig(baselines=False), TrainingConfig(epochs=1), tracking=TrackingConfig(wanted=False)
    )


class Swept:
    """Stands in for the sweep on Ray: trains and measures everything here, or fails at uvm on acc."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls = 0
        self._fails = fails

    def __call__(self, run: Run, _cluster: Cluster, _scratch: Path) -> None:
        self.calls += 1
        measure_everything(run)
        if self._fails:
            store_failure(run.results, "uvm", "acc", "its worker died")
        write_tables(run.results, run.fingerprint)


def worker(run: Run, pair: tuple[str, str]) -> PairTrial:
    """A worker at its first pair, without Ray's constructor, which wants a cluster."""
    trial = PairTrial.__new__(PairTrial)
    trial.setup({"point": pair}, SweepJob(run, tuple(run.pairs())))
    return trial


def measure_everything(run: Run) -> None:
    """Train all sources and measure all pairs, as workers do."""
    store_null_model(run.plan)
    for code in run.sources:
        train_cohort(run.plan, run.cohorts[code], run.folds)
    trial = worker(run, run.pairs()[0])
    for pair in run.pairs():
        trial.reset_config({"point": pair})
        assert trial.step()["failed"] == ""


def test_nothing_is_swept_when_nothing_is_missing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, swept = prepare(config, CLUSTER), Swept()
    monkeypatch.setattr(driver, "_sweep", swept)

    def needed(run: Run) -> int:
        assert driver.sweep_if_needed(run, CLUSTER, tmp_path) == DONE
        return swept.calls

    assert needed(run) == 1
    tables = run.results.out / "pairs.parquet"
    tables.unlink()
    assert needed(run) == 1
    assert len(pd.read_parquet(tables)) == 4, "a run that was killed at the end has left no tables"
    for number, path in enumerate([run.results.record_path("uvm", "acc"), run.results.models.weights("uvm", 1)]):
        path.unlink()
        assert needed(run) == 2 + number, path
    assert needed(replace(run, config=replace(config, resume=False))) == 4, "all again with --no-resume"


def test_pairs_of_other_data_or_fewer_folds_are_missing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All models are there and every pair has a record, but not of today's data, or not of all models."""
    run, swept = prepare(config, CLUSTER), Swept()
    measure_everything(run)
    monkeypatch.setattr(driver, "_sweep", swept)
    path = run.results.record_path("uvm", "acc")
    write_json(path, {**(read_json(path) or {}), "fingerprint": "of other data"})
    driver.sweep_if_needed(run, CLUSTER, tmp_path)
    assert swept.calls == 1
    measure_everything(replace(run, folds=(0,)))
    driver.sweep_if_needed(run, CLUSTER, tmp_path)
    assert swept.calls == 2
    driver.sweep_if_needed(replace(run, config=replace(config, pairs=PairsConfig())), CLUSTER, tmp_path)
    assert swept.calls == 3, "baselines are wanted now"


def test_a_pair_that_failed_in_the_sweep_is_told_by_its_exit_code(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "_sweep", Swept(fails=True))
    assert driver.sweep_if_needed(prepare(config, CLUSTER), CLUSTER, tmp_path) == SOME_FAILED
    assert "uvm on acc: failed: its worker died" in capsys.readouterr().out


def test_a_worker_measures_baselines_with_the_sources_loss(config: RunConfig) -> None:
    run = prepare(replace(config, training=TrainingConfig(epochs=1, loss="cox_nll")), CLUSTER)
    assert worker(run, ("random", "acc")).step()["failed"] == ""
    held = hold_target(run.cohorts["acc"], read_bags(run.cohorts["acc"]))
    expected = measure_baseline("random", held, run.plan).predictions
    assert expected is not None
    stored = pd.read_parquet(run.results.predictions_path("random", "acc"))
    assert stored["risk"].tolist() == expected["risk"].tolist()
    assert (stored["risk"] > 0).any(), "a discrete model's risk is minus a sum of survival, a Cox model's any number"


@pytest.mark.parametrize("strict", [False, True])
def test_a_worker_leaves_a_bad_slide_out_unless_the_run_is_strict(config: RunConfig, strict: bool) -> None:
    run = prepare(replace(config, strict=strict), CLUSTER)
    slide = run.cohorts["acc"].slides.iloc[0]
    with h5py.File(slide["path"], "r+") as file:
        file["features"][...] = np.nan
    result = worker(run, ("chance", "acc")).step()
    if strict:
        assert slide["slide"] in result["failed"]
        with pytest.raises(StudyError, match=slide["slide"]):
            read_target(run, "acc")
    else:
        assert [slide["slide"] in left_out for left_out in result["left_out"]] == [True]
        assert [skipped.slide for skipped in read_target(run, "acc").bags.skipped] == [slide["slide"]]


def test_a_worker_measures_each_pair_with_the_models_and_patients_of_the_pair(config: RunConfig) -> None:
    run = prepare(config, CLUSTER)
    measure_everything(run)
    for source, target in run.pairs():
        held = hold_target(run.cohorts[target], read_bags(run.cohorts[target]))
        expected = measure_pair(load_source_models(run.plan, source, run.folds), held)
        record = run.results.record(source, target)
        assert record is not None
        assert record.folds == expected.folds
        stored = pd.read_parquet(run.results.predictions_path(source, target))
        assert expected.predictions is not None
        assert stored["risk"].tolist() == expected.predictions["risk"].tolist()
