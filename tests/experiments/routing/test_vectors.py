"""Borrowing on vectors of source models: whose models see whom, and what has to be measured for it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_studies import write_study
from sweep_here import sweep_here

from cropkt.borrowing.folds import borrowed_risks
from cropkt.borrowing.means import fold_splits, with_outcomes
from cropkt.data.bags import read_bags
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.command import DONE
from cropkt.experiments.config import ClusterConfig, RunConfig, StudyConfig
from cropkt.experiments.routing.vectors import VectorShelf
from cropkt.experiments.run import Run, prepare
from cropkt.models.predict import predict
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import load_source_models
from cropkt.transfer.store import Representations, ResultsFolder

CODES = ("acc", "meso", "uvm", "chol")
LENDERS = ("meso", "uvm", "chol")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose pairs are all measured."""
    folder = tmp_path_factory.mktemp("vectors")
    study = write_study(folder / "study", *CODES).folder
    assert sweep_here(study, folder / "out", "--no-baselines", "--precision", "float32").code == DONE
    config = RunConfig(
        StudyConfig(study, out=folder / "out"),
        training=TrainingConfig(epochs=2, learning_rate=1e-2),
        cluster=ClusterConfig("cpu", "float32"),
    )
    return prepare(config, Cluster(config.cluster))


@pytest.fixture
def copied(run: Run, tmp_path: Path) -> Run:
    """The run with results of its own, to be changed."""
    shutil.copytree(run.results.out, tmp_path / "out")
    return replace(run, results=replace(run.results, out=tmp_path / "out"))


def test_vectors_are_those_of_the_other_cohorts_models(run: Run) -> None:
    bags = read_bags(run.cohorts["meso"])
    models = [load_source_models(run.plan, source, run.folds).models for source in ("uvm", "chol")]
    expected = np.mean([predict(of, bags).representation.astype(np.float64).mean(axis=0) for of in models], axis=0)
    found = VectorShelf(run).vectors("meso", LENDERS)
    assert found is not None
    assert found.patients == bags.patients
    np.testing.assert_allclose(found.features, expected, atol=2e-3)  # stored in float16
    everyone = VectorShelf(run).vectors("meso", CODES)
    assert everyone is not None
    assert np.abs(everyone.features - found.features).max() > 0.005


def test_neither_the_targets_models_nor_a_cohorts_own_see_anybody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What these models say remembers outcomes: of the target's patients, and of a lender's."""
    read = ResultsFolder.representations

    def risks(*poisoned: tuple[str, str]) -> np.ndarray:
        def poison(results: ResultsFolder, source: str, target: str) -> Representations | None:
            found = read(results, source, target)
            if found is None or (source, target) not in poisoned:
                return found
            return replace(found, vectors=torch.full_like(found.vectors, 1000.0))

        monkeypatch.setattr(ResultsFolder, "representations", poison)
        shelf = VectorShelf(run)
        lenders, seen = shelf.lenders(LENDERS), shelf.vectors("acc", LENDERS)
        assert lenders is not None
        assert seen is not None
        held = with_outcomes(run.cohorts["acc"], seen)
        return borrowed_risks(lenders, held, fold_splits(run.cohorts["acc"], seen.patients)).averaged

    expected = risks()
    np.testing.assert_array_equal(risks(*((code, code) for code in CODES)), expected)
    np.testing.assert_allclose(risks(*(("acc", code) for code in LENDERS)), expected, atol=1e-6)  # taken off a sum
    assert np.nanmax(np.abs(risks(("meso", "uvm")) - expected)) > 1e-3


def test_nothing_is_borrowed_where_a_pair_is_missing_or_old(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert VectorShelf(copied).lenders(LENDERS) is not None
    assert VectorShelf(copied).lenders(("meso",)) is None
    today = copied.fingerprint

    def other(_: Run, source: str, target: str) -> str | None:
        return "of other labels" if (source, target) == ("uvm", "meso") else today(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "fingerprint", other)
        assert VectorShelf(copied).vectors("meso", LENDERS) is None
        assert VectorShelf(copied).vectors("uvm", LENDERS) is not None
        assert VectorShelf(copied).lenders(LENDERS) is None
    copied.results.record_path("uvm", "meso").unlink()
    assert VectorShelf(copied).lenders(LENDERS) is None
