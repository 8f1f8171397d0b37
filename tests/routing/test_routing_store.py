"""Routing on disk: who may be an expert, whose vectors are read, and the table of methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_cohorts import made_up_cohort
from small_studies import write_study

from cropkt.borrowing.lenders import CohortPatients, gather_lenders
from cropkt.borrowing.means import fold_splits
from cropkt.data.study import Cohort, open_study
from cropkt.errors import CheckpointError
from cropkt.routing.borrowed import BORROWED, borrowed_methods, in_order
from cropkt.routing.methods import FittedFold
from cropkt.routing.rows import FOLD_PREDICTIONS
from cropkt.routing.store import (
    FoldRecord,
    RoutedFolds,
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
from cropkt.survival.repeats import repeated_c_index
from cropkt.transfer.pair import PairResult
from cropkt.transfer.rows import PATIENTS_ONLY, PREDICTIONS, TRAINING_TOO, FoldRow, PairRow, Status
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
    said = results.predictions("acc", ["uvm", "kipan"])
    assert chosen_sources(said, acc.folds, ["uvm", "kipan"]) == ["kipan"] * 3
    assert chosen_sources(said, acc.folds, ["uvm"]) == ["uvm"] * 3
    assert chosen_sources(said, acc.folds, ["brca"]) == []
    assert chosen_sources(None, acc.folds, ["uvm"]) == []


def test_no_test_patient_has_a_part_in_the_choice_of_the_source_to_be_tuned(
    results: ResultsFolder, acc: Cohort
) -> None:
    """kipan is the best on everybody, thanks to fold 1 alone; on the patients of the other folds uvm is."""
    signs = {"kipan": {0: 0.0, 1: -1.0, 2: 0.0}, "uvm": {0: -1.0, 1: 1.0, 2: 0.0}}
    for source, by_fold in signs.items():
        store_predictions(results, acc, source, by_fold)
    said = results.predictions("acc", ["uvm", "kipan"])
    assert chosen_sources(said, acc.folds, ["uvm", "kipan"]) == ["kipan", "uvm", "kipan"]


def routed(folder: RoutingFolder, cohort: Cohort) -> RoutedFolds:
    """A cross-validation with uvm as the only expert."""
    return RoutedFolds(folder, cohort.folds, folder.results.predictions("acc", ["acc", "uvm"]))


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
    table = method_table(routed(folder, acc)).set_index("method")
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


def test_the_true_c_index_is_over_pairs_of_a_test_fold(results: ResultsFolder, acc: Cohort) -> None:
    """The truth is so clear that who has the higher risk dies first. uvm's is the wrong way round; a router that ranks
    the patients of a fold as they die and mixes folds up is without fault."""
    folder = RoutingFolder(results, "acc")
    for fold in range(3):
        fit(folder, acc, fold, ("roupkt",))
    once = routed(folder, acc)
    said = once.predictions
    assert said is not None
    assert method_table(once)["c_index_true"].isna().all()
    truth = -100.0 * said.time
    found = method_table(replace(once, log_risk=truth)).set_index("method")["c_index_true"]
    assert found[["self", "honest", "roupkt"]].tolist() == pytest.approx([1.0, 0.0, 0.5])
    mixed = truth + 1e6 * said.tested_in
    assert replace(once, log_risk=truth).true_c_index(mixed[None, :]) == pytest.approx(1.0)
    both = np.stack([mixed, -mixed])
    assert replace(once, log_risk=truth).true_c_index(both) == pytest.approx(0.5), "the mean over models"


def test_rows_of_repeated_routing_are_means_over_repeats_with_their_error(results: ResultsFolder, acc: Cohort) -> None:
    """In the repeat the own model ranks the wrong way round: 1 and 0 give .5."""
    first = RoutingFolder(results, "acc")
    other = RoutingFolder(replace(results, out=results.out / "repeats" / "1"), "acc")
    for folder in (first, other):
        for fold in range(3):
            fit(folder, acc, fold, ("roupkt",))
    once = routed(first, acc)
    said = once.predictions
    assert said is not None
    again = replace(once, folder=other, predictions=replace(said, risk={**said.risk, "acc": -said.risk["acc"]}))
    table, alone = (method_table(once, repeats).set_index("method") for repeats in ([again], []))
    assert table.loc["self", "c_index_pooled"] == 0.5
    assert table.loc["roupkt", "difference_self"] == pytest.approx(0.0)
    assert alone.loc["roupkt", "difference_self"] == -0.5
    assert set(table["error_covers"]) == {TRAINING_TOO}
    assert set(alone["error_covers"]) == {PATIENTS_ONLY}
    scores = [of.score(of.risk["acc"]).pooled for of in (said, again.predictions)]
    assert table.loc["self", "standard_error"] == pytest.approx(repeated_c_index(scores).standard_error)
    other.record_path(2).unlink()
    pd.testing.assert_frame_equal(method_table(once, [again]).set_index("method"), alone)


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
    assert method_table(routed(folder, acc)).empty


def test_borrowed_rows_come_first_and_are_of_the_same_patients(results: ResultsFolder, acc: Cohort) -> None:
    folder = RoutingFolder(results, "acc")
    fit(folder, acc, 0, ("roupkt",))
    fit(folder, acc, 1, ("roupkt",))
    patients = list(acc.labels.index)
    random = np.random.default_rng(0)
    lenders = gather_lenders([made_up_cohort(f"lender {n}") for n in range(4)], axes=3)
    target = CohortPatients(
        "acc", random.normal(size=(len(patients), 12)), acc.labels["time"].to_numpy(), acc.labels["event"].to_numpy()
    )
    kept = np.arange(1, len(patients))
    without_first = CohortPatients("acc", target.features[kept], target.time[kept], target.event[kept])
    found = borrowed_methods(lenders, without_first, patients[1:], fold_splits(acc, patients[1:]), seed=0)
    table = method_table(replace(routed(folder, acc), borrowed=found))
    assert table["method"].tolist()[: len(found)] == [name for name in BORROWED if name in found]
    tested = {patient for fold in acc.folds[:2] for patient in fold.test} - {patients[0]}
    events = table.set_index("method")["n_events"]
    assert events["borrowed"] == acc.labels.loc[list(tested), "event"].sum()
    assert in_order(found["borrowed"], patients)[:, 0].tolist() == pytest.approx([np.nan] * 3, nan_ok=True)
