"""Routing on disk: who may be an expert, whose vectors are read, and the table of methods."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_studies import write_study

from cropkt.data.study import Cohort, open_study
from cropkt.errors import CheckpointError
from cropkt.routing.methods import FittedFold
from cropkt.routing.rows import FOLD_PREDICTIONS
from cropkt.routing.store import (
    FoldRecord,
    RoutingFolder,
    chosen_sources,
    expert_sources,
    forget_fold,
    method_table,
    read_gates,
    read_own_vectors,
    read_source_vectors,
    store_fold,
    store_own_vectors,
)
from cropkt.transfer.pair import PairResult
from cropkt.transfer.rows import PREDICTIONS, FoldRow, PairRow, Status
from cropkt.transfer.store import ResultsFolder, store_pair


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "out", "uni2-h", "abmil")


def store_vectors(
    results: ResultsFolder, source: str, patients: list[str], vectors: torch.Tensor, folds: Sequence[int] = ()
) -> None:
    """A measured pair of `source` and acc: vectors (folds, patients, width)."""
    identity = (source, "acc", "uni2-h", "abmil", "transfer")
    numbers = folds or range(len(vectors))
    rows = tuple(FoldRow(*identity, fold, 0, 0.5, 0.1, 2, 1, 1, Status.OK) for fold in numbers)
    result = PairResult(rows, PairRow(*identity), None, vectors.float().numpy())
    store_pair(results, result, fingerprint="x", patients=patients, seconds=0.1)


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


def test_vectors_are_found_by_the_number_of_their_fold(results: ResultsFolder) -> None:
    """A sweep with --folds 1,3: the first stored vectors are of fold 1."""
    store_vectors(results, "uvm", ["p1"], torch.tensor([[[1.0, 1.0]], [[3.0, 3.0]]]), folds=(1, 3))
    for fold in (1, 3):
        assert read_source_vectors(results, "acc", ["p1"], ["uvm"], [fold]).tolist() == [[[fold, fold]]]
    with pytest.raises(CheckpointError, match="no vectors of uvm's folds 0"):
        read_source_vectors(results, "acc", ["p1"], ["uvm"], [0])


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
    assert read_own_vectors(path, "today", ["p1", "p2"]) == {}
    store_own_vectors(path, vectors, "today", ["p1", "p2"])
    found = read_own_vectors(path, "today", ["p1", "p2"])
    assert set(found) == set(vectors)
    assert all(np.array_equal(found[parts], vectors[parts]) for parts in vectors)
    assert read_own_vectors(path, "tomorrow", ["p1", "p2"]) == {}
    assert read_own_vectors(path, "today", ["p2", "p1"]) == {}, "rows are patients"


@pytest.fixture
def acc(results: ResultsFolder, tmp_path: Path) -> Cohort:
    """A cohort whose own model ranks perfectly, uvm's the wrong way round, and kipan's nearly perfectly."""
    cohort = open_study(write_study(tmp_path / "study", "acc").folder).cohorts["acc"]
    for source, sign in (("acc", -1.0), ("uvm", 1.0), ("kipan", -0.9)):
        store_predictions(results, cohort, source, dict.fromkeys(range(3), sign))
    return cohort


def store_predictions(results: ResultsFolder, cohort: Cohort, source: str, sign: Mapping[int, float]) -> None:
    """A pair whose risks are times to death, each times the sign of the fold that tests the patient."""
    tested = {patient: fold for fold, split in enumerate(cohort.folds) for patient in split.test}
    labels = cohort.labels.loc[list(tested), ["time", "event"]].reset_index(drop=True)
    table = labels.assign(patient_id=list(tested), target_fold=list(tested.values()))
    table["source_fold"] = table["target_fold"] if source == "acc" else 0
    table["risk"] = table["target_fold"].map(sign) * table["time"]
    mode = "self" if source == "acc" else "transfer"
    result = PairResult((), PairRow(source, "acc", "uni2-h", "abmil", mode), PREDICTIONS.filled(table), None)
    store_pair(results, result, fingerprint="x", patients=list(tested), seconds=0.1)


def test_a_source_is_chosen_among_the_experts_of_this_run(results: ResultsFolder, acc: Cohort) -> None:
    assert chosen_sources(results, acc, ["uvm", "kipan"]) == ["kipan"] * 3
    assert chosen_sources(results, acc, ["uvm"]) == ["uvm"] * 3
    assert chosen_sources(results, acc, ["brca"]) == []


def test_no_test_patient_has_a_part_in_the_choice_of_the_source_to_be_tuned(
    results: ResultsFolder, acc: Cohort
) -> None:
    """kipan is the best on everybody, thanks to fold 1 alone; on the patients of the other folds uvm is."""
    signs = {"kipan": {0: 0.0, 1: -1.0, 2: 0.0}, "uvm": {0: -1.0, 1: 1.0, 2: 0.0}}
    for source, by_fold in signs.items():
        store_predictions(results, acc, source, by_fold)
    assert chosen_sources(results, acc, ["uvm", "kipan"]) == ["kipan", "uvm", "kipan"]


def fit(folder: RoutingFolder, cohort: Cohort, fold: int, methods: tuple[str, ...]) -> None:
    """What a fitted fold leaves: these methods, all with the same risk for everybody."""
    patients = list(cohort.folds[fold].test)
    rows = pd.concat([pd.DataFrame({"method": m, "patient_id": patients, "fold": fold, "risk": 0.0}) for m in methods])
    gates = pd.DataFrame({"patient_id": patients, "fold": fold, "expert": "uvm", "gate": 1.0, "probability": 1.0})
    folder.router_path(fold).parent.mkdir(parents=True, exist_ok=True)
    folder.router_path(fold).write_bytes(b"weights")
    record = FoldRecord("x", "acc", fold, {}, ("roupkt",), 3, True, None, 0.1)
    store_fold(folder, FittedFold(FOLD_PREDICTIONS.filled(rows), gates, None), record)


def test_methods_are_compared_on_the_patients_of_the_fitted_folds(results: ResultsFolder, acc: Cohort) -> None:
    folder = RoutingFolder(results, "acc")
    fit(folder, acc, 0, ("roupkt", "finetune"))
    fit(folder, acc, 2, ("roupkt",))
    table = method_table(folder, acc, ["uvm"]).set_index("method")
    assert table["c_index_pooled"].to_dict() == {
        "self": 1,
        "honest": 0,
        "oracle": 0,
        "rank_average": pytest.approx(0, abs=0.2),
        "majority_vote": pytest.approx(0, abs=0.5),
        "roupkt": 0.5,
        "finetune": 0.5,
    }
    assert table.loc["roupkt", "difference_self"] == -0.5
    assert table["tuned"].to_dict()["roupkt"]
    assert not table["tuned"].to_dict()["self"]
    fitted = [*acc.folds[0].test, *acc.folds[2].test]
    assert table.loc["self", "n_events"] == acc.labels.loc[fitted, "event"].sum()
    # A method that is there in one fold only is held against the own model in that fold, and says so.
    assert table["folds"].to_dict()["roupkt"] == 2
    assert table["folds"].to_dict()["finetune"] == 1
    assert table.loc["finetune", "n_events"] == acc.labels.loc[list(acc.folds[0].test), "event"].sum()


@pytest.mark.parametrize("kind", ["router", "gates", "predictions"])
def test_a_fold_whose_files_are_not_those_of_its_record_is_not_done(
    results: ResultsFolder, acc: Cohort, kind: str
) -> None:
    """A file of fold 1 lies where that of fold 0 should: it is there, and can be read."""
    folder = RoutingFolder(results, "acc")
    fit(folder, acc, 0, ("roupkt",))
    fit(folder, acc, 1, ("roupkt",))
    folder.router_path(1).write_bytes(b"other weights")
    path = getattr(folder, f"{kind}_path")
    path(0).write_bytes(path(1).read_bytes())
    assert folder.record(0) is None


def test_what_a_fold_left_goes_with_its_record(results: ResultsFolder, acc: Cohort) -> None:
    folder = RoutingFolder(results, "acc")
    fit(folder, acc, 0, ("roupkt",))
    fit(folder, acc, 1, ("roupkt",))
    assert set(read_gates(folder, 3)["fold"]) == {0, 1}
    folder.record_path(1).unlink()
    assert set(read_gates(folder, 3)["fold"]) == {0}, "gates without a record belong to no fit"
    forget_fold(folder, 0)
    assert not folder.predictions_path(0).exists()
    assert read_gates(folder, 3).empty
    assert method_table(folder, acc, ["uvm"]).empty
