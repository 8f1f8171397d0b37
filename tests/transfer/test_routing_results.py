"""Routing on disk: who may be an expert, whose vectors are read, and the table of methods."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_studies import write_study

from cropkt.data.study import open_study
from cropkt.errors import CheckpointError
from cropkt.files import write_json
from cropkt.transfer.results import ResultsFolder
from cropkt.transfer.routing_results import (
    RoutingFolder,
    chosen_source,
    expert_sources,
    method_table,
    read_own_vectors,
    read_source_vectors,
    store_own_vectors,
)


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "out", "uni2-h", "abmil")


def store_vectors(results: ResultsFolder, source: str, patients: list[str], vectors: torch.Tensor) -> None:
    """A measured pair of `source` and acc: vectors (folds, patients, width)."""
    path = results.representations_path(source, "acc")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"representation": vectors}, path, metadata={"patients": json.dumps(patients)})
    folds = [{"source_fold": fold} for fold in range(len(vectors))]
    write_json(results.record_path(source, "acc"), {"fingerprint": "x", "pair": {"source": source}, "folds": folds})


def test_a_cohort_that_shares_a_patient_with_the_target_is_no_expert(small_study: Callable) -> None:
    study = small_study("acc", "uvm", "kipan")
    rows = study.rows("uvm")
    rows[1][0] = study.rows("acc")[1][0]
    study.write_rows("uvm", rows)
    cohorts = open_study(study.folder).cohorts
    assert expert_sources(cohorts, "acc", list(cohorts)) == ["kipan"]
    assert set(expert_sources(cohorts, "kipan", list(cohorts))) == {"acc", "uvm"}


def test_vectors_are_the_mean_of_the_folds_asked_for_in_the_patients_order(results: ResultsFolder) -> None:
    vectors = torch.arange(12, dtype=torch.float16).reshape(3, 2, 2)  # folds, patients, width
    store_vectors(results, "uvm", ["p1", "p2"], vectors)
    store_vectors(results, "kipan", ["p2", "p1"], vectors + 100)
    found = read_source_vectors(results, "acc", ["p2", "p1"], ["uvm", "kipan"], [0, 2])
    assert found.shape == (2, 2, 2)
    assert found[0, 0].tolist() == [6, 7]  # p2: mean of folds 0 and 2, (2, 3) and (10, 11)
    assert found[0, 1].tolist() == [104, 105]


def test_vectors_that_are_not_there_are_said(results: ResultsFolder) -> None:
    with pytest.raises(CheckpointError, match="no vectors of uvm's folds 0"):
        read_source_vectors(results, "acc", ["p1"], ["uvm"], [0])
    store_vectors(results, "uvm", ["p1"], torch.zeros(2, 1, 2))
    with pytest.raises(CheckpointError, match="no vectors of uvm's folds 0, 2"):
        read_source_vectors(results, "acc", ["p1"], ["uvm"], [0, 2])
    with pytest.raises(CheckpointError, match="no vector of patient p9"):
        read_source_vectors(results, "acc", ["p1", "p9"], ["uvm"], [0])


def test_own_vectors_come_back_only_for_what_they_were_made_from(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    vectors = {
        (): np.ones((2, 3), np.float32),
        (1,): np.zeros((2, 3), np.float32),
        (0, 1): np.full((2, 3), 2, np.float32),
    }
    store_own_vectors(path, vectors, "today")
    found = read_own_vectors(path, "today")
    assert found is not None
    assert set(found) == set(vectors)
    assert all(np.array_equal(found[parts], vectors[parts]) for parts in vectors)
    assert read_own_vectors(path, "tomorrow") is None


def test_the_source_chosen_for_a_fold_is_the_honest_one(results: ResultsFolder) -> None:
    rows = [{"method": "oracle", "sources": ["blca"] * 2}, {"method": "honest", "sources": ["uvm", "kipan"]}]
    write_json(results.comparison_path("acc"), {"choice": rows})
    assert chosen_source(results, "acc", 1, ["acc", "uvm", "kipan"]) == "kipan"
    assert chosen_source(results, "acc", 1, ["acc", "uvm"]) is None
    assert chosen_source(results, "uvm", 0, ["acc"]) is None


def test_methods_are_compared_on_the_patients_of_the_fitted_folds(results: ResultsFolder, tmp_path: Path) -> None:
    """A method that ranks perfectly has 1; all methods are compared on the folds that are there, and no others."""
    cohort = open_study(write_study(tmp_path / "study", "acc").folder).cohorts["acc"]
    folder = RoutingFolder(results, "acc")
    labels = cohort.labels
    tested = {patient: fold for fold, split in enumerate(cohort.folds) for patient in split.test}
    for source, sign in (("acc", -1.0), ("uvm", 1.0)):
        table = pd.DataFrame({"patient_id": list(tested), "target_fold": list(tested.values())})
        table["source_fold"] = table["target_fold"] if source == "acc" else 0
        table = table.assign(time=labels.loc[table["patient_id"], "time"].to_numpy())
        table = table.assign(event=labels.loc[table["patient_id"], "event"].to_numpy(), risk=sign * table["time"])
        path = results.predictions_path(source, "acc")
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path)
        write_json(results.record_path(source, "acc"), {"fingerprint": "x", "pair": {"source": source}, "folds": []})
    for fold in (0, 2):
        patients = [patient for patient, where in tested.items() if where == fold]
        rows = pd.DataFrame({"method": "roupkt", "patient_id": patients, "fold": fold, "risk": 0.0})
        path = folder.predictions_path(fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path)
        write_json(folder.record_path(fold), {"tuned": ["roupkt"]})
    table = method_table(folder, cohort, ["acc", "uvm"]).set_index("method")
    assert table.loc["self", "c_index_pooled"] == 1
    assert table.loc["honest", "c_index_pooled"] == 0
    assert table.loc["roupkt", "c_index_pooled"] == 0.5
    assert table.loc["roupkt", "difference_self"] == -0.5
    assert table["folds"].tolist() == [2] * len(table)
    assert table["tuned"].to_dict()["roupkt"]
    assert not table["tuned"].to_dict()["self"]
    fitted = [patient for patient, where in tested.items() if where != 1]
    assert table.loc["self", "n_events"] == labels.loc[fitted, "event"].sum()
