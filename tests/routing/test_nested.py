"""Nested cross-validation: whose label and whose slide can reach what is chosen and what is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated_target import WIDTH, simulated_target

from cropkt.models.checkpoint import load_model, save_model
from cropkt.models.mil import Architecture
from cropkt.models.router import RouterSettings
from cropkt.routing.combination import Recipe, build_combination, predict_combination
from cropkt.routing.methods import RoutingSettings, fit_fold
from cropkt.routing.nested import (
    InnerTraining,
    OuterFold,
    expert_vectors,
    left_out_parts,
    outer_fold,
    own_vectors,
    without,
)
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, survival_loss, train_folds
from cropkt.training.sources import SourcePlan, store_null_model
from cropkt.training.targets import survival_targets
from cropkt.transfer.pair import TargetCohort, hold_target

EMBEDDING = 8
ARCHITECTURE = Architecture(features=WIDTH, embedding=EMBEDDING, attention=5, dropout=0.0)
TRAINING = TrainingConfig(epochs=3, bags_per_update=8, learning_rate=1e-2)
ROUTER = RouterSettings(embedding=8, attention=4, top_k=2, dropout=0.0)


def plan_in(folder: Path) -> SourcePlan:
    plan = SourcePlan(folder, ARCHITECTURE, TRAINING, seed=3)
    store_null_model(plan)
    return plan


def train_own(plan: SourcePlan, target: TargetCohort, outer: OuterFold) -> None:
    """The outer fold's own model, as scripts/train_sources.py leaves it."""
    model = load_model(plan.null_path())
    targets = survival_targets(target.cohort, target.bags)
    train_folds([FoldTraining(outer.number, model, outer.train)], target.bags, targets, TRAINING, seed=3, stream="acc")
    save_model(plan.model_path("acc", outer.number), model, {})


def relabelled(target: TargetCohort, patients: np.ndarray, seed: int = 1) -> TargetCohort:
    """The target with the labels of `patients` (indices) replaced by noise."""
    random = np.random.default_rng(seed)
    labels = target.cohort.labels.copy()
    names = [target.bags.patients[index] for index in patients]
    labels.loc[names, "time"] = random.integers(1, 9000, len(names)).astype(float)
    labels.loc[names, "event"] = random.integers(0, 2, len(names))
    return hold_target(replace(target.cohort, labels=labels), target.bags)


def other_slides(target: TargetCohort, patients: np.ndarray) -> TargetCohort:
    """The target with the patches of `patients` (indices) replaced by noise."""
    features = target.bags.features.clone()
    rows = target.bags.offsets.numpy()
    for index in patients:
        features[rows[index] : rows[index + 1]].normal_(generator=torch.Generator().manual_seed(int(index)))
    bags = type(target.bags)(target.bags.patients, features, target.bags.offsets)
    return hold_target(target.cohort, bags)


def source_vectors(target: TargetCohort) -> np.ndarray:
    """Two sources: vectors that tell the risk, and vectors that tell nothing."""
    means = torch.stack([target.bags.take([bag]).features.mean(dim=0) for bag in range(len(target.bags))]).numpy()
    telling = np.tile(means[:, :1], (1, EMBEDDING))
    noise = np.random.default_rng(5).normal(size=telling.shape)
    return np.stack([telling, noise], axis=1).astype(np.float32)


def run(target: TargetCohort, folder: Path, sources: np.ndarray, fold: int = 0) -> tuple[int, dict[str, torch.Tensor]]:
    """A search over three settings and a final fit: which setting won, and the router's weights."""
    plan = plan_in(folder)
    outer = outer_fold(target, fold, 3, plan.seed)
    train_own(plan, target, outer)
    own = own_vectors(plan, target, outer, left_out_parts(outer, cross_fitted=True))
    inner = [expert_vectors(own, sources, outer, part, cross_fitted=True) for part in range(3)]
    recipes = [Recipe(replace(ROUTER, top_k=k), replace(TRAINING, learning_rate=rate)) for k, rate in SETTINGS]
    scores = []
    for recipe in recipes:
        training = InnerTraining(recipe, target, outer, inner, intervals=32, seed=plan.seed)
        assert list(training) == list(range(TRAINING.epochs))
        scores.append(training.score().c_index)
    best = int(np.argmax(scores))
    final = expert_vectors(own, sources, outer, None, cross_fitted=True)
    settings = RoutingSettings(router=ROUTER, training=TRAINING)
    tuned = {"roupkt": recipes[best]}
    fitted = fit_fold(plan, target, outer, final, ["acc", "telling", "noise"], None, settings, tuned)
    return best, fitted.router.state_dict()


SETTINGS = [(1, 1e-4), (2, 1e-2), (3, 3e-3)]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def target() -> TargetCohort:
    return simulated_target(60)[0]


def test_no_label_and_no_slide_of_a_test_patient_reaches_a_choice_or_a_weight(
    target: TargetCohort, tmp_path: Path
) -> None:
    sources = source_vectors(target)
    best, weights = run(target, tmp_path / "as_is", sources)
    test = np.flatnonzero(target.tested_in == 0)
    for name, changed in {"labels": relabelled(target, test), "slides": other_slides(target, test)}.items():
        found, other = run(changed, tmp_path / name, sources)
        assert found == best, name
        assert equal(weights, other), name
    poisoned = sources.copy()
    poisoned[test] = 1e3
    found, other = run(target, tmp_path / "vectors", poisoned)
    assert found == best
    assert equal(weights, other)
    # The same change to one learning patient does reach them, so the test could have failed.
    learning = np.flatnonzero(target.tested_in == 1)[:1]
    assert not equal(weights, run(relabelled(target, learning), tmp_path / "learning", sources)[1])


def test_inner_parts_divide_the_learning_patients(target: TargetCohort) -> None:
    outer = outer_fold(target, 2, 3, seed=0)
    joined = np.concatenate(outer.inner)
    assert sorted(joined) == sorted(outer.train)
    assert len(set(joined)) == len(joined)
    assert not set(joined) & set(outer.test)
    assert set(outer.test) == set(np.flatnonzero(target.tested_in == 2))
    events = [target.event[part].sum() for part in outer.inner]
    assert max(events) - min(events) <= 1


def test_every_own_vector_is_of_a_model_that_has_not_seen_its_patient(target: TargetCohort) -> None:
    outer = outer_fold(target, 0, 3, seed=0)
    codes = {parts: 10.0 ** len(parts) + sum(parts) for parts in [(), *left_out_parts(outer, cross_fitted=True)]}
    own = {parts: np.full((60, EMBEDDING), code, np.float32) for parts, code in codes.items()}
    sources = np.zeros((60, 2, EMBEDDING), np.float32)
    final = expert_vectors(own, sources, outer, None, cross_fitted=True)[:, 0, 0].numpy()
    assert (final[outer.test] == codes[()]).all()
    for part, patients in enumerate(outer.inner):
        assert (final[patients] == codes[(part,)]).all()
    for held_out in range(3):
        inner = expert_vectors(own, sources, outer, held_out, cross_fitted=True)
        assert torch.isnan(inner[outer.test]).all()
        for part, patients in enumerate(outer.inner):
            expected = codes[(part,)] if part == held_out else codes[tuple(sorted((part, held_out)))]
            assert (inner[patients, 0, 0].numpy() == expected).all()


def test_the_published_protocol_takes_learning_patients_vectors_from_a_model_that_learnt_them(
    target: TargetCohort,
) -> None:
    outer = outer_fold(target, 0, 3, seed=0)
    assert left_out_parts(outer, cross_fitted=False) == [(0,), (1,), (2,)]
    own = {parts: np.full((60, EMBEDDING), len(parts), np.float32) for parts in [(), (0,), (1,), (2,)]}
    final = expert_vectors(own, np.zeros((60, 2, EMBEDDING)), outer, None, cross_fitted=False)
    assert (final[outer.train, 0] == 0).all()
    inner = expert_vectors(own, np.zeros((60, 2, EMBEDDING)), outer, 1, cross_fitted=False)
    assert (inner[outer.train, 0] == 1).all(), "not even then has the model seen the patients it is judged on"


def test_own_models_do_not_see_the_parts_left_out(target: TargetCohort, tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    outer = outer_fold(target, 0, 3, plan.seed)
    train_own(plan, target, outer)
    changed = relabelled(target, outer.inner[1])
    everything = left_out_parts(outer, cross_fitted=True)
    own, other = (own_vectors(plan, of, outer, everything) for of in (target, changed))
    for parts in everything:
        assert np.array_equal(own[parts], other[parts]) == (1 in parts), parts
    assert set(without(outer, (1,))) == set(outer.train) - set(outer.inner[1])
    fewer = own_vectors(plan, target, outer, left_out_parts(outer, cross_fitted=True, searched=False))
    assert set(fewer) == {(), (0,), (1,), (2,)}
    assert all(np.array_equal(fewer[parts], own[parts]) for parts in fewer)
    assert left_out_parts(outer, cross_fitted=False, searched=False) == []


def test_the_inner_loss_is_the_mean_over_patients_not_over_parts(target: TargetCohort) -> None:
    """Untrained, the models of all parts are one: its mean loss over all learning patients, however they are dealt."""
    whole = outer_fold(target, 0, 2, seed=0)
    outer = replace(whole, inner=(whole.train[:4], whole.train[4:]))
    vectors = torch.zeros(60, 3, EMBEDDING)
    vectors[outer.inner[1]] = 3.0
    apart = [vectors.clone(), vectors.clone()]
    for part in (0, 1):  # a part's vectors for the patients of the other part are not to be looked at
        apart[part][outer.inner[1 - part]] = -7.0
    recipe = Recipe(ROUTER, TRAINING)
    training = InnerTraining(recipe, target, outer, apart, intervals=32, seed=3)
    start = build_combination(recipe, width=WIDTH, vectors=vectors, intervals=32, seed=3, precision="float32").eval()
    found = predict_combination(start, target.bags, vectors, outer.train)
    targets = survival_targets(target.cohort, target.bags)
    expected = float(survival_loss(torch.from_numpy(found.logits), targets, outer.train, TRAINING))
    assert training.score().loss == pytest.approx(expected, rel=1e-5)


def test_what_helps_is_found(target: TargetCohort, tmp_path: Path) -> None:
    """Inner scores see the difference between vectors that tell the risk and vectors that do not."""
    plan = plan_in(tmp_path)
    outer = outer_fold(target, 0, 3, plan.seed)
    silent = {parts: np.zeros((60, EMBEDDING), np.float32) for parts in [(), *left_out_parts(outer, cross_fitted=True)]}
    recipe = Recipe(replace(ROUTER, top_k=3, expert_network="identity"), replace(TRAINING, epochs=40))
    scores = []
    for chosen in ([0, 1], [1, 1]):
        sources = source_vectors(target)[:, chosen]
        vectors = [expert_vectors(silent, sources, outer, part, cross_fitted=True) for part in range(3)]
        training = InnerTraining(recipe, other_slides(target, np.arange(60)), outer, vectors, intervals=32, seed=0)
        list(training)
        scores.append(training.score())
    assert scores[0].c_index > 0.65  # ranking by the telling vector itself has 0.67
    assert scores[0].c_index > scores[1].c_index + 0.1
    assert scores[0].loss < scores[1].loss
