"""Every rival: it ranks patients with planted risks, and no test patient reaches what it has learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up_cohorts import made_up_cohort, made_up_lenders
from small_studies import write_study
from torch.nn.utils import vector_to_parameters

from cropkt.borrowing.lenders import CohortPatients, gather_lenders
from cropkt.borrowing.means import measure_means, with_outcomes
from cropkt.data.bags import Bags, read_bags
from cropkt.data.study import open_study
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.models.predict import predict
from cropkt.rivals import POOLED, RIVALS, SOURCES, networks
from cropkt.rivals.case import Case, Others, gather_others
from cropkt.rivals.methods import own_abmil_tuned
from cropkt.rivals.pan_cancer import PanCancerNetworks
from cropkt.rivals.task_vectors import adaptive_of, entropy_of_hazards, mean_of, merged_risk, slope_of_entropy
from cropkt.survival.concordance import concordance
from cropkt.survival.cox import ridge_cox
from cropkt.survival.losses import LOSSES
from cropkt.training.config import TrainingConfig
from cropkt.training.pan_cancer import LOSS
from cropkt.training.sources import SourcePlan
from cropkt.transfer.pair import hold_target

LINEAR = [name for name in RIVALS if RIVALS[name].needs == "means"]
NETWORKS = [name for name in RIVALS if RIVALS[name].needs == "bags"] + ["pan_abmil_tuned"]
BORROWED_NETWORKS = [name for name in RIVALS if RIVALS[name].needs in {POOLED, SOURCES}]
TRAIN, TEST = np.arange(40), np.arange(40, 100)


@pytest.fixture(scope="module")
def others() -> Others:
    return others_of(12)


def others_of(width: int) -> Others:
    """Six lenders whose features are `width` wide."""
    lenders = made_up_lenders(6, width=width)
    ridges = {one.cohort: ridge_cox(one.features, one.time, one.event, seed=0) for one in lenders}
    return gather_others(lenders, ridges, axes=4)


def case_of(others: Others, target: CohortPatients) -> Case:
    return Case(target, TRAIN, TEST, others, seed=3)


def poisoned(target: CohortPatients) -> CohortPatients:
    """Outcomes of test patients are noise."""
    time, event = target.time.copy(), target.event.copy()
    time[TEST], event[TEST] = np.arange(len(TEST)) + 1.0, 1
    return replace(target, time=time, event=event)


@pytest.mark.parametrize("name", LINEAR)
def test_it_ranks_patients_and_sees_no_outcome_of_a_test_patient(others: Others, name: str) -> None:
    target = made_up_cohort("target", patients=100)
    risk = RIVALS[name].fit(case_of(others, target))
    assert risk is not None
    assert concordance(target.time[TEST], target.event[TEST], risk).c_index > 0.6
    np.testing.assert_array_equal(risk, RIVALS[name].fit(case_of(others, poisoned(target))))


@pytest.mark.parametrize("name", LINEAR)
def test_a_test_patients_features_change_its_own_risk_alone(others: Others, name: str) -> None:
    target = made_up_cohort("target", patients=100)
    moved = target.features.copy()
    moved[TEST[0]] = 100.0
    before, after = (RIVALS[name].fit(case_of(others, one)) for one in (target, replace(target, features=moved)))
    assert before is not None
    assert after is not None
    assert before[0] != after[0]
    np.testing.assert_allclose(before[1:], after[1:], rtol=1e-12)


@pytest.mark.parametrize("name", ["own_ridge", "mean_cox"])
def test_without_an_event_it_says_that_it_cannot_be_fitted(others: Others, name: str) -> None:
    target = made_up_cohort("target", patients=100)
    assert RIVALS[name].fit(case_of(others, replace(target, event=0 * target.event))) is None


def test_a_case_refuses_a_patient_in_training_and_in_test(others: Others) -> None:
    with pytest.raises(ValueError, match="training and in test"):
        Case(made_up_cohort("target"), np.arange(10), np.arange(9, 20), others, seed=0)


def test_pan_cancer_compares_patients_within_their_cohort(others: Others) -> None:
    """Times of one cohort in another unit change nothing."""
    first, *rest = others.cohorts
    scaled = Others((replace(first, time=1000 * first.time), *rest), others.lenders, others.ridges)
    np.testing.assert_allclose(scaled.pan_cancer, others.pan_cancer, rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_on_training_patients_alone(
    others: Others, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are watched where they are made: noise as test patients' patches and outcomes changes none of them."""
    cohort = open_study(write_study(tmp_path / "study", "acc", patients=30).folder).cohorts["acc"]
    patients, bags = with_outcomes(cohort, measure_means(cohort)), read_bags(cohort)
    plan = SourcePlan(tmp_path, Architecture(features=bags.features.shape[1]), TrainingConfig(epochs=2), 0)
    train, test = np.arange(20), np.arange(20, 30)
    features, labels, event = bags.features.clone(), cohort.labels.copy(), patients.event.copy()
    features[bags.offsets[20] :] = torch.randn_like(features[bags.offsets[20] :])
    event[test] = 1 - event[test]
    labels.loc[list(bags.patients[20:]), "event"] = event[test]
    seen: list[torch.Tensor] = []
    original = networks.train_folds

    def watched(folds: list[Any], *arguments: Any, **settings: Any) -> None:
        original(folds, *arguments, **settings)
        seen.extend(value.clone() for fold in folds for value in fold.model.state_dict().values())

    monkeypatch.setattr(networks, "train_folds", watched)
    trained = trained_elsewhere(bags, plan)
    clean = Case(patients, train, test, others, 3, hold_target(cohort, bags), plan, *trained)
    noisy = hold_target(replace(cohort, labels=labels), replace(bags, features=features))
    risk = RIVALS[name].fit(clean)
    RIVALS[name].fit(Case(replace(patients, event=event), train, test, others, 3, noisy, plan, *trained))
    assert risk is not None
    assert risk.shape == (10,)
    half = len(seen) // 2
    assert half > 0
    for before, after in zip(seen[:half], seen[half:], strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=0)


def trained_elsewhere(bags: Bags, plan: SourcePlan) -> tuple[PanCancerNetworks, dict[str, MILModel]]:
    """Pan-cancer networks and source models of random weights: who trains them is tested where they are trained."""
    shape = replace(plan.architecture, intervals=LOSSES[LOSS].intervals)
    networks = [build_null_model(shape, seed).eval() for seed in range(2)]
    sources = {f"source {seed}": build_null_model(plan.architecture, seed).eval() for seed in range(6)}
    for model in networks:
        model.trained_with = TrainedWith(LOSS, plan.precision)
    for model in sources.values():
        model.trained_with = plan.trained_with
    said = predict(networks, bags)
    random = np.random.default_rng(0)
    lenders = [made_up_lenders(6, width=said.representation.shape[-1], seed=int(random.integers(9))) for _ in networks]
    risk, vectors = said.risk.astype(float), said.representation.astype(float)
    return PanCancerNetworks(tuple(networks), risk, vectors, tuple(map(gather_lenders, lenders))), sources


@pytest.mark.parametrize("name", BORROWED_NETWORKS)
def test_networks_trained_elsewhere_see_no_outcome_of_a_test_patient(name: str, tmp_path: Path) -> None:
    cohort = open_study(write_study(tmp_path / "study", "acc", patients=30).folder).cohorts["acc"]
    means, bags = measure_means(cohort), read_bags(cohort)
    others = others_of(bags.features.shape[1])
    plan = SourcePlan(tmp_path, Architecture(features=bags.features.shape[1]), TrainingConfig(epochs=2), 0)
    trained = trained_elsewhere(bags, plan)
    train, test, risks = np.arange(20), np.arange(20, 30), []
    for shift in (0, 1):
        labels = cohort.labels.copy()
        labels.loc[list(bags.patients[20:]), "event"] ^= shift
        held = hold_target(replace(cohort, labels=labels), bags)
        patients = with_outcomes(held.cohort, means)
        risks.append(RIVALS[name].fit(Case(patients, train, test, others, 3, held, plan, *trained)))
    assert risks[0] is not None
    assert np.ptp(risks[0]) > 0
    np.testing.assert_array_equal(*risks)


def test_adaptive_merging_lowers_the_entropy_of_what_is_predicted(tmp_path: Path) -> None:
    cohort = open_study(write_study(tmp_path / "study", "acc", patients=30).folder).cohorts["acc"]
    means, bags = measure_means(cohort), read_bags(cohort)
    plan = SourcePlan(tmp_path, Architecture(features=bags.features.shape[1]), TrainingConfig(epochs=2), 0)
    trained = trained_elsewhere(bags, plan)
    train, held = np.arange(20), hold_target(cohort, bags)
    others = others_of(bags.features.shape[1])
    case = Case(with_outcomes(cohort, means), train, np.arange(20, 30), others, 3, held, plan, *trained)
    entropy = {}

    def merge(added: torch.Tensor, model: MILModel, start: torch.Tensor) -> torch.Tensor:
        adapted = adaptive_of(added, slope_of_entropy(case, model, start))
        for name, vector in (("mean", mean_of(added)), ("adapted", adapted)):
            vector_to_parameters(start + vector, model.parameters())
            hazard = torch.from_numpy(predict([model], bags.take(train)).hazard[0])
            entropy[name] = float(entropy_of_hazards(hazard).mean())
        return adapted

    merged_risk(case, merge)
    assert entropy["adapted"] < entropy["mean"] - 0.01


def test_a_choice_inside_is_scored_on_patients_that_were_not_learnt_from(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every network scores the part that it has not seen; the parts hold every training patient once."""
    target = made_up_cohort("target", patients=100)
    learnt: list[np.ndarray] = []
    scored: list[np.ndarray] = []

    def train(_: Case, learning: list[np.ndarray], __: TrainingConfig) -> list[int]:
        learnt.extend(learning)
        return list(range(len(learning)))

    def risks(_: Case, __: int, patients: np.ndarray) -> np.ndarray:
        scored.append(patients)
        return np.zeros(len(patients))

    monkeypatch.setattr(own_abmil_tuned, "train_from_null", train)
    monkeypatch.setattr(own_abmil_tuned, "risks_after", risks)
    case = case_of(others, target)
    own_abmil_tuned._score(case, networks.inner_parts(case), TrainingConfig())
    assert sorted(np.concatenate(scored)) == list(TRAIN)
    for learning, part in zip(learnt, scored, strict=True):
        assert sorted([*learning, *part]) == list(TRAIN)
