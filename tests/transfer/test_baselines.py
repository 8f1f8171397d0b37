"""Baselines: they find what there is to find, and never look at a test patient to do so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_target import WIDTH, simulated_target

from cropkt.data.bags import Bags
from cropkt.errors import CheckpointError
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import Architecture
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import SourcePlan, store_null_model
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.baselines.mean_cox import cox_risk
from cropkt.transfer.baselines.random import RANDOM_MODELS
from cropkt.transfer.measure_baseline import baseline_fingerprint, measure_baseline, measure_by_fold
from cropkt.transfer.pair import TargetCohort

PLAN = SourcePlan(Path("unused"), Architecture(WIDTH, embedding=16, attention=8), TrainingConfig(), seed=0)


def measured(name: str, target: TargetCohort, seed: int = 0) -> dict:
    return vars(measure_baseline(name, target, replace(PLAN, seed=seed)).pair)


def test_mean_cox_finds_a_planted_signal_and_nothing_where_there_is_none() -> None:
    with_signal = measured("mean_cox", simulated_target(250)[0])
    assert with_signal["mode"] == with_signal["source"] == "mean_cox"
    assert with_signal["interval_lower"] > 0.6
    without = [measured("mean_cox", simulated_target(120, signal=0, seed=seed)[0]) for seed in range(10)]
    assert sum(row["p_chance"] < 0.05 for row in without) <= 2


def test_cox_risk_sees_training_patients_only() -> None:
    target, _ = simulated_target(100)
    columns = np.random.default_rng(1).normal(size=(100, 12))
    columns[:, 0] -= target.time / 500
    train = np.arange(70)
    risk = cox_risk(columns, target.time, target.event, train, seed=3)
    time, event, other = target.time.copy(), target.event.copy(), columns.copy()
    time[70:], event[70:], other[85:] = 1, 1, 99
    noisy = cox_risk(other, time, event, train, seed=3)
    np.testing.assert_array_equal(risk[:85], noisy[:85])
    assert concordance(target.time[70:], target.event[70:], risk[70:]).c_index > 0.6


@pytest.mark.parametrize("name", [baseline.name for baseline in BASELINES.records() if baseline.learns])
def test_a_folds_test_labels_change_no_prediction_of_it(name: str) -> None:
    target, log_risk = simulated_target(100, larger_is_worse=1)
    groups = np.where(log_risk > 0, "a", "b")
    target = with_clinical(target, site=groups, project=groups, age=log_risk)
    before = measure_baseline(name, target, PLAN).predictions
    tested = target.tested_in == 2
    time, event = np.where(tested, 1.0, target.time), np.where(tested, 1, target.event)
    after = measure_baseline(name, replace(target, time=time, event=event), PLAN).predictions
    assert before is not None
    assert after is not None
    ours = before["target_fold"] == 2
    assert before[ours]["risk"].tolist() == after[ours]["risk"].tolist()
    assert before[~ours]["risk"].tolist() != after[~ours]["risk"].tolist() or name == "size"


def test_whom_a_fold_tests_no_baseline_learns_from_even_if_the_splits_say_so() -> None:
    target, _ = simulated_target(30)
    folds = tuple(replace(fold, train=(*fold.train, *fold.test)) for fold in target.cohort.folds)
    target = replace(target, cohort=replace(target.cohort, folds=folds))
    learnt: dict[int, set[int]] = {}

    def learn(fold: int, train: np.ndarray) -> np.ndarray:
        learnt[fold] = set(train.tolist())
        return np.zeros(len(target.bags))

    measure_by_fold("mean_cox", target, PLAN, learn)
    assert learnt == {fold: set(np.flatnonzero(target.tested_in != fold).tolist()) for fold in range(len(folds))}


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_size_learns_which_way_patches_point(direction: float) -> None:
    assert measured("size", simulated_target(200, larger_is_worse=direction)[0])["c_index_pooled"] > 0.6


def test_random_weights_are_several_models_that_depend_on_the_seed_alone() -> None:
    target, _ = simulated_target()
    result = measure_baseline("random", target, PLAN)
    assert {row.source_fold for row in result.folds} == set(range(RANDOM_MODELS))
    assert len({row.c_index for row in result.folds if row.target_fold == 0}) > RANDOM_MODELS // 2
    assert str(vars(result.pair)) == str(measured("random", target))
    assert result.pair.c_index_pooled != measured("random", target, seed=1)["c_index_pooled"]


def test_chance_is_one_half_with_the_spread_of_rankings_by_lot() -> None:
    target, _ = simulated_target(60)
    row = measured("chance", target)
    assert row["c_index_pooled"] == row["c_index_mean"] == 0.5
    lots = np.random.default_rng(5).random((400, 60))
    whole, within = [], []
    for lot in lots:
        cells = [
            concordance(*(values[target.tested_in == fold] for values in (target.time, target.event, lot)))
            for fold in range(5)
        ]
        whole.append(concordance(target.time, target.event, lot).c_index)
        within.append(sum(cell.concordant for cell in cells) / sum(cell.comparable for cell in cells))
    assert row["standard_error"] == pytest.approx(np.std(whole), rel=0.15)
    assert row["standard_error_within_folds"] == pytest.approx(np.std(within), rel=0.15)
    assert row["interval_lower"] == pytest.approx(np.quantile(whole, 0.025), abs=0.04)
    assert np.isnan(row["p_chance"])


def test_the_start_is_the_stored_null_model_and_knows_no_fold(tmp_path: Path) -> None:
    plan = replace(PLAN, folder=tmp_path)
    store_null_model(plan)
    target, _ = simulated_target()
    found = measure_baseline("null", target, plan)
    start = predict([load_model(plan.null_path())], target.bags).risk[0]
    assert found.pair.c_index_pooled == pytest.approx(concordance(target.time, target.event, start).c_index)
    with pytest.raises(CheckpointError):
        measure_baseline("null", target, replace(plan, folder=tmp_path / "elsewhere"))


def with_clinical(target: TargetCohort, **columns: np.ndarray | list[str]) -> TargetCohort:
    names = target.cohort.labels.index
    clinical = pd.DataFrame({"site": "", **columns}, index=names)
    project = clinical.pop("project") if "project" in clinical else target.cohort.labels["project"]
    cohort = replace(target.cohort, labels=target.cohort.labels.assign(project=project), clinical=clinical)
    return replace(target, cohort=cohort)


@pytest.mark.parametrize("name", ["project", "site"])
def test_groups_that_differ_in_their_event_rate_are_found_and_one_group_says_nothing(name: str) -> None:
    target, log_risk = simulated_target(300, signal=0)
    groups = with_clinical(target, **{name: np.where(log_risk > 0, "high", "low")})
    event = np.where(log_risk > 0, 1, target.event)
    assert measured(name, replace(groups, event=event))["c_index_pooled"] > 0.6
    assert measured(name, target)["status"] == "no comparable pair"


def test_the_clinical_baseline_reads_what_study_yaml_names_and_is_measured_again_when_it_changes() -> None:
    target, log_risk = simulated_target(300, signal=0)
    found = with_clinical(target, Age_at_initial_pathologic_diagnosis=60 + 10 * log_risk)
    assert measured("clinical", found)["c_index_pooled"] > 0.65
    assert measured("clinical", target)["status"] == "no comparable pair"
    changed = with_clinical(target, Age_at_initial_pathologic_diagnosis=61 + 10 * log_risk)
    fingerprints = {baseline_fingerprint("clinical", of.cohort, PLAN) for of in (target, found, changed)}
    assert len(fingerprints) == 3


def test_too_few_events_leave_the_cox_model_undefined_not_wrong() -> None:
    target, _ = simulated_target(40)
    event = np.zeros_like(target.event)
    event[:2] = 1
    row = measured("mean_cox", replace(target, event=event))
    assert np.isnan(row["c_index_pooled"])
    assert row["status"] == "no comparable pair"
    nobody = measured("chance", replace(target, event=np.zeros_like(event)))
    assert np.isnan(nobody["c_index_pooled"])


def test_constant_features_give_ties_not_errors() -> None:
    target, _ = simulated_target(50)
    bags = Bags(target.bags.patients, target.bags.features * 0, target.bags.offsets)
    assert measured("mean_cox", replace(target, bags=bags))["c_index_pooled"] in (
        0.5,
        pytest.approx(np.nan, nan_ok=True),
    )


def test_random_weights_are_read_with_the_sources_loss() -> None:
    target, _ = simulated_target(40)
    risks = {}
    for loss in ("discrete_nll", "cox_nll"):
        plan = replace(PLAN, training=TrainingConfig(loss=loss))
        predictions = measure_baseline("random", target, plan).predictions
        assert predictions is not None
        risks[loss] = predictions["risk"].to_numpy()
    # A Cox model's risk is its first logit, a discrete one's minus the sum of a survival curve.
    assert (risks["discrete_nll"] < 0).all()
    assert not (risks["cox_nll"] < 0).all()
