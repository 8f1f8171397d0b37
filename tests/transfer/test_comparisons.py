"""From measured pairs on disk to verdicts and choices in the tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_target import WIDTH, simulated_target

from cropkt.models.mil import Architecture
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import SourcePlan, store_null_model
from cropkt.transfer.assemble import update_comparison, write_tables
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import measure_baseline
from cropkt.transfer.pair import PairResult, Scored, TargetCohort, pair_result
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair

PLAN = SourcePlan(Path("unused"), Architecture(WIDTH, embedding=16, attention=8), TrainingConfig(), seed=0)


def today(source: str, target: str) -> str:  # noqa: ARG001
    """The fingerprint of today's study: that of all records here."""
    return "f"


def source(name: str, target: TargetCohort, risk: np.ndarray) -> PairResult:
    """A source whose five models say `risk` (B,) with noise of their own; the target's own model in matched folds."""
    random = np.random.default_rng(len(name))
    models = risk + random.normal(scale=0.3, size=(5, len(risk)))
    own = name == "acc"
    valid = target.tested_in == np.arange(5)[:, None] if own else np.ones(models.shape, dtype=bool)
    return pair_result(Scored(name, "abmil", tuple(range(5)), models, valid, knows_target=own), target)


def store(folder: ResultsFolder, result: PairResult, patients: tuple[str, ...], fingerprint: str = "f") -> None:
    store_pair(folder, result, fingerprint=fingerprint, patients=patients, seconds=0.1)


def test_a_target_without_results_has_nothing_to_compare(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path, "simulated", "abmil")
    store_failure(folder, "brca", "acc", "its worker died")
    target, _ = simulated_target(40)
    update_comparison(folder, "acc", target.cohort.folds, today)
    assert write_tables(folder, today).pairs["verdict"].tolist() == ["cannot tell"]


def test_verdicts_and_choices_follow_what_was_planted(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path, "simulated", "abmil")
    target, log_risk = simulated_target(200, signal=0.2)
    patients = target.bags.patients
    for name, risk in {"brca": log_risk, "kipan": -log_risk, "lung": 0 * log_risk, "acc": 0.2 * log_risk}.items():
        store(folder, source(name, target, risk), patients)
    plan = replace(PLAN, folder=folder.models.path)
    store_null_model(plan)
    for name in BASELINES:
        if name != "pan_cancer":
            store(folder, measure_baseline(name, target, plan), patients)
    update_comparison(folder, "acc", target.cohort.folds, today)
    pairs = write_tables(folder, today).pairs.set_index("source")
    verdicts = pairs["verdict"]
    assert verdicts[["brca", "kipan", "lung"]].tolist() == ["worth borrowing", "worse than chance", "not shown"]
    assert verdicts[[*(name for name in BASELINES if name != "pan_cancer"), "acc"]].isna().all()
    store(folder, source("pan_cancer", target, log_risk), patients)
    update_comparison(folder, "acc", target.cohort.folds, today)
    more = write_tables(folder, today).pairs.set_index("source")
    networks = more.loc["pan_cancer"]
    assert networks["verdict"] == "worth borrowing"
    assert networks["q_chance"] == networks["p_chance"] / 2, "a family of its own"
    pd.testing.assert_frame_equal(more.drop("pan_cancer"), pairs)
    assert pd.read_csv(tmp_path / "transfer_matrix.csv", index_col=0).index[-1] == "pan_cancer"
    assert pairs.loc["brca", "difference_self"] > 0.1
    assert pairs.loc["brca", "q_self"] < 0.01
    choice = pd.read_parquet(tmp_path / "source_choice.parquet").set_index("method")
    assert list(choice.loc["honest", "sources"]) == ["brca"] * 5
    assert choice.loc["honest", "q_self"] < 0.01
    assert choice.loc["honest", "q_home"] < 0.05
    assert choice.loc["oracle", ["interval_lower", "p_self", "p_home", "q_self", "q_home"]].isna().all()
    assert choice.loc["oracle", "difference_self"] > 0.1
    assert pairs.loc["brca", "survival_predicted"] == pytest.approx(
        pairs.loc["brca", "survival_observed"], abs=3 * pairs.loc["brca", "survival_observed_error"]
    )
    assert pairs.loc["brca", "brier_gain"] > 0.2
    assert pairs.loc["brca", "calibration_p"] > 0.01

    stored = folder.comparison_path("acc")
    before = stored.stat().st_mtime_ns
    update_comparison(folder, "acc", target.cohort.folds, today)
    assert stored.stat().st_mtime_ns == before
    store(folder, source("brca", target, -log_risk), patients, "other models")

    def other_models(source: str, target: str) -> str:  # noqa: ARG001
        return "other models" if source == "brca" else "f"

    update_comparison(folder, "acc", target.cohort.folds, other_models)
    pairs = write_tables(folder, other_models).pairs.set_index("source")
    assert pairs["verdict"]["brca"] == "worse than chance"
    assert pairs["difference_self"]["brca"] < 0, "compared anew, with the models of today"


def test_the_own_model_is_never_chosen_however_good_it_is(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path, "simulated", "abmil")
    target, log_risk = simulated_target(100)
    for name, risk in {"brca": 0.1 * log_risk, "acc": 9 * log_risk}.items():
        store(folder, source(name, target, risk), target.bags.patients)
    update_comparison(folder, "acc", target.cohort.folds, today)
    pairs = write_tables(folder, today).pairs.set_index("source")
    assert pairs["c_index_pooled"]["acc"] > pairs["c_index_pooled"]["brca"] + 0.1
    choice = pd.read_parquet(tmp_path / "source_choice.parquet").set_index("method")
    assert list(choice.loc["honest", "sources"]) == list(choice.loc["oracle", "sources"]) == ["brca"] * 5
