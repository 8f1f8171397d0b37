"""A trial is handed the whole run, once, and one pair after the other; what it measures is on disk when it ends."""

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.data.slide_files import features
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import ClusterConfig, PairsConfig, RunConfig, StudyConfig
from cropkt.experiments.run import Run, prepare
from cropkt.experiments.sweep.trial import PairTrial, SweepJob
from cropkt.models.checkpoint import build_null_model
from cropkt.training.cards import save_with_card, source_card
from cropkt.training.config import TrainingConfig
from cropkt.training.pan_cancer_models import train_networks
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import measure_baseline
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
    job = SweepJob(run, tuple(run.pairs()))
    made = object.__new__(PairTrial)
    made.setup({"point": pair}, job=pickle.loads(pickle.dumps(job)))
    return made


def test_a_trial_gets_one_run_and_measures_what_it_says(run: Run) -> None:
    worker = trial(run, ("acc", "uvm"))
    assert isinstance(worker.job.run, Run)
    result = worker.step()
    assert (result["done"], result["failed"]) == (True, "")
    record = run.results.record("acc", "uvm")
    assert record is not None
    assert record.fingerprint == run.fingerprint("acc", "uvm")
    held = hold_target(run.cohorts["uvm"], read_bags(run.cohorts["uvm"]))
    expected = measure_pair(load_source_models(run.plan, "acc", run.folds), held).pair
    assert record.pair.c_index_pooled == expected.c_index_pooled == result["c_index_pooled"]


def test_every_slide_is_read_once_for_all_pairs_and_baselines_of_its_target(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_cohort(run.plan, run.cohorts["uvm"], run.folds)
    read: Counter[str] = Counter()
    original = features.read_features_into

    def counted(path: str, part: Any) -> None:
        read[path] += 1
        original(path, part)

    monkeypatch.setattr("cropkt.data.bags.read_features_into", counted)
    workers = [trial(run, pair) for pair in run.pairs()[:2]]
    for number, pair in enumerate(run.pairs()):  # two workers in turn, each with every second pair
        worker = workers[number % 2]
        assert worker.reset_config({"point": pair})
        assert worker.step()["failed"] == ""
        record = run.results.record(*pair)
        assert record is not None
        assert record.fingerprint == run.fingerprint(*pair)
    slides = [path for cohort in run.cohorts.values() for path in cohort.slides["path"]]
    assert read == dict.fromkeys(slides, 1)


def test_stored_scores_give_what_a_resident_target_gives(run: Run) -> None:
    """The pan-cancer networks have another loss than the sources, and are run in the same pass."""
    run = replace(run, config=replace(run.config, pairs=PairsConfig(pan_cancer=True)))
    train_networks(run.pan_cancer("uvm"), {})
    worker = trial(run, ("acc", "uvm"))
    held = hold_target(run.cohorts["uvm"], read_bags(run.cohorts["uvm"]))
    expected = {
        "acc": measure_pair(load_source_models(run.plan, "acc", run.folds), held),
        **{name: measure_baseline(name, held, run.plan) for name in BASELINES},
    }
    for name, result in expected.items():
        worker.reset_config({"point": (name, "uvm")})
        assert worker.step()["failed"] == ""
        record = run.results.record(name, "uvm")
        assert record is not None
        for measure in ("c_index_mean", "c_index_pooled", "standard_error", "n_patients"):
            assert getattr(record.pair, measure) == pytest.approx(getattr(result.pair, measure), nan_ok=True), (
                name,
                measure,
            )
        if result.predictions is not None:
            stored = pd.read_parquet(run.results.predictions_path(name, "uvm"))
            np.testing.assert_allclose(stored["risk"], result.predictions["risk"], atol=1e-5)


def test_a_pair_that_cannot_be_measured_is_recorded_and_stops_no_other(run: Run) -> None:
    worker = trial(run, ("uvm", "acc"))
    result = worker.step()
    assert "CheckpointError" in result["failed"]
    record = run.results.record("uvm", "acc")
    assert record is not None
    assert (record.pair.status, record.pair.reason) == (Status.FAILED, result["failed"])
    worker.reset_config({"point": ("acc", "acc")})
    assert worker.step()["failed"] == ""


def test_scores_that_a_killed_run_has_left_are_not_those_of_a_model_trained_since(run: Run) -> None:
    """A model that lacked slides for a passing reason is trained again under the same fingerprint."""
    first = trial(run, ("acc", "uvm")).step()
    path = run.plan.model_path("acc", run.folds[0])
    card = source_card(path)
    again = build_null_model(run.plan.architecture, seed=99)
    again.trained_with = run.plan.trained_with
    save_with_card(path, again, card)
    second = trial(run, ("acc", "uvm")).step()
    assert first["c_index_pooled"] != second["c_index_pooled"]
    held = hold_target(run.cohorts["uvm"], read_bags(run.cohorts["uvm"]))
    expected = measure_pair(load_source_models(run.plan, "acc", run.folds), held).pair
    assert second["c_index_pooled"] == expected.c_index_pooled
