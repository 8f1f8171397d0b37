"""A trial is handed the whole run, once, and one pair after the other; what it measures is on disk when it ends."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import ClusterConfig, RunConfig, StudyConfig
from cropkt.experiments.run import Run, prepare
from cropkt.experiments.sweep.trial import PairTrial
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.rows import Status


@pytest.fixture
def run(small_study: Callable[..., SmallStudy], tmp_path: Path) -> Run:
    """A run whose source acc is trained, and uvm is not."""
    config = RunConfig(
        StudyConfig(small_study("acc", "uvm").folder, out=tmp_path / "out"),
        training=TrainingConfig(epochs=2, learning_rate=1e-2),
        cluster=ClusterConfig("cpu", "float32"),
        seed=7,
    )
    run = prepare(config, Cluster(config.cluster))
    store_null_model(run.plan)
    train_cohort(run.plan, run.cohorts["acc"], run.folds)
    return run


def trial(run: Run, pair: tuple[str, str]) -> PairTrial:
    """A trial as Ray makes it in a worker: from what was pickled once for all of them."""
    made = object.__new__(PairTrial)
    made.setup({"point": pair}, job=pickle.loads(pickle.dumps(run)))
    return made


def test_a_trial_gets_one_run_and_measures_what_it_says(run: Run) -> None:
    worker = trial(run, ("acc", "uvm"))
    assert isinstance(worker.job, Run)
    result = worker.step()
    assert (result["done"], result["failed"]) == (True, "")
    record = run.results.record("acc", "uvm")
    assert record is not None
    assert record.fingerprint == run.fingerprint("acc", "uvm")
    held = hold_target(run.cohorts["uvm"], read_bags(run.cohorts["uvm"]))
    expected = measure_pair(load_source_models(run.plan, "acc", run.folds), held).pair
    assert record.pair.c_index_pooled == expected.c_index_pooled == result["c_index_pooled"]


def test_the_worker_holds_its_target_and_goes_on_to_the_next_pair(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(cohort: Any, **options: Any) -> Any:
        read.append(cohort.code)
        return read_bags(cohort, **options)

    monkeypatch.setattr("cropkt.experiments.sweep.trial.read_bags", counted)
    worker = trial(run, ("acc", "uvm"))
    worker.step()
    for pair in (("chance", "uvm"), ("acc", "acc"), ("size", "acc")):
        assert worker.reset_config({"point": pair})
        assert worker.step()["failed"] == ""
        record = run.results.record(*pair)
        assert record is not None
        assert record.fingerprint == run.fingerprint(*pair)
    assert read == ["uvm", "acc"]


def test_a_pair_that_cannot_be_measured_is_recorded_and_stops_no_other(run: Run) -> None:
    worker = trial(run, ("uvm", "acc"))
    result = worker.step()
    assert "CheckpointError" in result["failed"]
    record = run.results.record("uvm", "acc")
    assert record is not None
    assert (record.pair.status, record.pair.reason) == (Status.FAILED, result["failed"])
    worker.reset_config({"point": ("acc", "acc")})
    assert worker.step()["failed"] == ""
