"""A router fitted as a worker does it, stored, loaded and applied to slides: it says what it said in the fit."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from small_studies import DIM, small_plan, write_study

from cropkt.data.bags import Bags, read_bags
from cropkt.data.persons import person_digest
from cropkt.data.study import Study, open_study
from cropkt.errors import CheckpointError
from cropkt.experiments.config import RunConfig
from cropkt.experiments.routing.job import FoldFit, RoutingJob, SearchPoint
from cropkt.experiments.routing.trial import FitTrial, SearchTrial
from cropkt.experiments.run import Run
from cropkt.experiments.sweep.trial import PairTrial, SweepJob
from cropkt.models.checkpoint import card_path, load_model
from cropkt.models.predict import predict
from cropkt.models.router import RouterSettings
from cropkt.routing.apply import apply_routers, load_router, router_paths
from cropkt.routing.cards import RouterCard, read_router_card
from cropkt.routing.methods import METHODS, RoutingSettings, fit_fold, recipe_of
from cropkt.routing.nested import InnerTraining, expert_vectors, left_out_parts, outer_fold, own_vectors
from cropkt.routing.store import read_source_vectors
from cropkt.training.cards import source_card
from cropkt.training.sources import store_null_model, train_cohort
from cropkt.transfer.pair import hold_target
from cropkt.transfer.store import ResultsFolder

CODES = ("acc", "uvm", "kipan")
FOLDS = (0, 1, 2)
TUNED = {"learning_rate": 3e-2, "loss": "incidence_nll", "epochs": 2, "top_k": 3}


def fit(job: RoutingJob, chosen_by_fold: Mapping[int, Mapping[str, Any]]) -> None:
    """The final fits of several folds by one worker, without Ray's constructor, which wants a cluster."""
    trial = FitTrial.__new__(FitTrial)
    trial.setup({"point": None}, job)
    for fold, chosen in chosen_by_fold.items():
        trial.reset_config({"point": FoldFit("acc", fold, dict(chosen), source="uvm", fingerprint="today")})
        assert trial.step() == {"done": True, "failed": ""}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return open_study(write_study(tmp_path_factory.mktemp("routed") / "study", *CODES, patients=15).folder)


@pytest.fixture(scope="module")
def job(study: Study, tmp_path_factory: pytest.TempPathFactory) -> RoutingJob:
    """Everything that routers of acc start from, and its routers of three folds: only that of fold 0 is tuned."""
    results = ResultsFolder(tmp_path_factory.mktemp("routed") / "out", study.encoder.name, "abmil")
    plan = small_plan(results.models.path)
    run = Run(RunConfig(), study, ("uvm", "kipan"), ("acc",), FOLDS, plan, results)
    store_null_model(plan)
    for cohort in study.cohorts.values():
        train_cohort(plan, cohort, FOLDS)
    pair = PairTrial.__new__(PairTrial)
    pair.setup({"point": None}, SweepJob(run, tuple(run.pairs())))
    for source in CODES:
        pair.reset_config({"point": (source, "acc")})
        assert pair.step()["failed"] == ""
    router = RouterSettings(embedding=8, attention=4, top_k=2)
    settings = RoutingSettings(source_folds=(0, 2), inner_parts=2, router=router, training=plan.training)
    made = RoutingJob(run, {"acc": ("uvm", "kipan")}, settings)
    fit(made, {0: {"router": TUNED}, 1: {}, 2: {}})
    return made


@pytest.fixture(scope="module")
def bags(study: Study) -> Bags:
    return read_bags(study.cohorts["acc"])


def path_of(job: RoutingJob, fold: int) -> Path:
    return job.folder("acc").router_path(fold)


def card_of(job: RoutingJob, fold: int) -> RouterCard:
    card = read_router_card(path_of(job, fold))
    assert card is not None
    return card


def test_the_card_says_how_the_router_was_trained(job: RoutingJob, study: Study) -> None:
    tuned, default = (card_of(job, fold) for fold in (0, 1))
    assert {**vars(tuned.training), **vars(tuned.router)}.items() >= TUNED.items()
    assert default.training == source_card(job.run.plan.model_path("acc", 0)).training
    assert default.router.top_k == 2
    assert set(tuned.train_patients) == set(map(person_digest, study.cohorts["acc"].folds[0].train))
    records = job.folder("acc").records(2)
    assert [record.tuned for record in records.values()] == [("roupkt", "roupkt_source_head"), ()]
    assert [record.chosen_source for record in records.values()] == ["uvm", "uvm"]


@pytest.mark.parametrize("fold", FOLDS)
def test_a_stored_router_says_of_its_test_patients_what_it_said_in_the_fit(
    job: RoutingJob, bags: Bags, study: Study, fold: int
) -> None:
    """Experts, their order and folds, the own model of the fold, loss and settings: all have to be the fit's."""
    test = list(study.cohorts["acc"].folds[fold].test)
    found = apply_routers([load_router(path_of(job, fold))], bags.take([bags.patients.index(name) for name in test]))
    assert found.patients == tuple(test)
    assert found.experts == ("acc", "uvm", "kipan")
    stored = pd.read_parquet(job.folder("acc").predictions_path(fold))
    assert set(stored["method"]) == set(METHODS)
    risk = stored[stored["method"] == "roupkt"].set_index("patient_id").loc[test, "risk"]
    assert_allclose(found.risk, risk, rtol=1e-3)
    gates = pd.read_parquet(job.folder("acc").gates_path(fold))
    wide = gates.pivot(index="patient_id", columns="expert", values="gate").loc[test, list(found.experts)]
    assert_allclose(found.gates, wide, atol=1e-3)
    assert ((found.gates > 0).sum(axis=1) == (3 if fold == 0 else 2)).all()
    if found.calibration is not None:
        survival = found.calibration.survival(found.risk, [100.0, 300.0, 600.0])
        assert (np.diff(survival[:, np.isfinite(survival).all(axis=0)], axis=1) <= 1e-6).all()


def test_an_expert_is_the_mean_of_its_fold_models(job: RoutingJob, bags: Bags, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    router = load_router(path_of(job, 1))
    route = router.router.route

    def watched(features: torch.Tensor, offsets: torch.Tensor, vectors: torch.Tensor) -> Any:
        asked.append(vectors)
        return route(features, offsets, vectors)

    monkeypatch.setattr(router.router, "route", watched)
    apply_routers([router], bags)
    vectors = torch.cat(asked)
    for number, (code, folds) in enumerate([("acc", (1,)), ("uvm", (0, 2)), ("kipan", (0, 2))]):
        models = [load_model(job.run.plan.model_path(code, fold)) for fold in folds]
        expected = predict(models, bags).representation
        assert_allclose(vectors[:, number], expected.mean(axis=0), rtol=1e-5, atol=1e-6)
        if len(folds) > 1:
            assert not np.allclose(expected[0], expected[1], rtol=1e-2)


def test_a_source_tuned_with_rate_zero_says_what_it_said(job: RoutingJob, bags: Bags, study: Study) -> None:
    """One update, the first of the warm-up, moves nothing: model and head are the chosen source's, on its vectors."""
    training = replace(job.settings.training, epochs=1, bags_per_update=16)
    settings = replace(job.settings, source_folds=(2,), training=training)
    fold, experts = 1, ["acc", "uvm", "kipan"]
    held = hold_target(study.cohorts["acc"], bags)
    outer = outer_fold(held, fold, settings.inner_parts, job.run.plan.seed)
    own = predict([load_model(job.run.plan.model_path("acc", fold))], bags).representation[0]
    sources = read_source_vectors(job.run.results, "acc", bags.patients, experts[1:], settings.source_folds)
    vectors = torch.from_numpy(np.concatenate([own[:, None], sources], axis=1))
    fitted = fit_fold(job.run.plan, held, outer, vectors, experts, "kipan", settings, {})
    said = fitted.predictions.set_index(["method", "patient_id"])["risk"]
    expected = predict([load_model(job.run.plan.model_path("kipan", 2))], bags.take(outer.test)).risk[0]
    for method in ("finetune", "finetune_head"):
        assert_allclose(said[method], expected, rtol=1e-3, err_msg=method)


def test_routers_of_several_folds_are_averaged(job: RoutingJob, bags: Bags) -> None:
    routers = [load_router(path) for path in router_paths(job.folder("acc").path)]
    assert [router.fold for router in routers] == list(FOLDS)
    alone = [apply_routers([router], bags) for router in routers]
    together = apply_routers(routers, bags)
    for name in ("risk", "gates"):
        assert_allclose(getattr(together, name), np.mean([getattr(one, name) for one in alone], axis=0), rtol=1e-5)
    assert not np.allclose(alone[0].risk, alone[1].risk)


def test_a_router_is_found_by_its_file_or_its_targets_folder(job: RoutingJob, tmp_path: Path) -> None:
    folder = job.folder("acc").path
    assert router_paths(path_of(job, 1)) == [path_of(job, 1)]
    assert router_paths(folder) == router_paths(folder / "router") == [path_of(job, fold) for fold in FOLDS]
    with pytest.raises(CheckpointError, match="no router here; name a router's file"):
        router_paths(tmp_path)


def test_what_is_no_router_is_refused(job: RoutingJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="its card is not that of a router"):
        load_router(job.run.plan.model_path("acc", 0))
    with pytest.raises(CheckpointError, match=r"no model here, or its card fold_0\.json is missing"):
        load_router(tmp_path / "fold_0.safetensors")
    damaged = tmp_path / "fold_0.safetensors"
    damaged.write_bytes(path_of(job, 0).read_bytes()[:-40])
    card_path(damaged).write_bytes(card_path(path_of(job, 0)).read_bytes())
    with pytest.raises(CheckpointError, match="damaged: not the weights that its card describes"):
        load_router(damaged)


def test_slides_and_routers_that_do_not_go_together_are_refused(job: RoutingJob, bags: Bags) -> None:
    first, second = (load_router(path_of(job, fold)) for fold in (0, 1))
    wide = Bags(bags.patients, torch.zeros(len(bags.features), DIM + 1), bags.offsets)
    with pytest.raises(CheckpointError, match="the slides have 7 features, the router reads 6"):
        apply_routers([first], wide)
    for other in (replace(second, target="uvm"), replace(second, encoder="virchow")):
        with pytest.raises(CheckpointError, match="do not go together"):
            apply_routers([first, other], bags)
    with pytest.raises(CheckpointError, match="other experts in fold 1 than in fold 0"):
        apply_routers([first, replace(second, experts=("acc", "kipan", "uvm"))], bags)


def test_a_source_model_that_was_trained_again_is_refused(job: RoutingJob, bags: Bags) -> None:
    router = load_router(path_of(job, 0))
    prints = [list(of_expert) for of_expert in router.fingerprints]
    prints[2][1] = "of another training"
    with pytest.raises(CheckpointError, match=r"kipan/fold_2\.safetensors: was trained again since the router was"):
        apply_routers([replace(router, fingerprints=tuple(map(tuple, prints)))], bags)


def test_a_search_judges_a_point_on_inner_parts_that_no_model_has_seen(
    job: RoutingJob, bags: Bags, study: Study
) -> None:
    """A search's trial says what models and vectors say that have not seen the part they are judged on."""
    trial = SearchTrial.__new__(SearchTrial)
    values = {"epochs": 2, "learning_rate": 3e-2}
    trial.setup({"point": SearchPoint("router", "acc", 1, values)}, job)
    trial._iteration = 1  # what Ray counts; two epochs are two reports
    report = trial.step()
    assert (report["failed"], report["finished"]) == ("", True)
    held = hold_target(study.cohorts["acc"], bags)
    outer = outer_fold(held, 1, job.settings.inner_parts, job.run.plan.seed)
    own = own_vectors(job.run.plan, held, outer, left_out_parts(outer, cross_fitted=True))
    sources = read_source_vectors(job.run.results, "acc", bags.patients, ["uvm", "kipan"], (0, 2))
    inner = [expert_vectors(own, sources, outer, part, cross_fitted=True) for part in range(2)]
    recipe = recipe_of("router", values, job.settings, job.run.plan)
    training = InnerTraining(recipe, held, outer, inner, intervals=32, seed=job.run.plan.seed)
    list(training)
    assert report["loss"] == pytest.approx(training.score().loss)


def test_whatever_decides_a_router_makes_it_outdated(job: RoutingJob) -> None:
    settings = job.settings
    others = [
        replace(settings, router=replace(settings.router, top_k=3)),
        replace(settings, training=replace(settings.training, epochs=9)),
        replace(settings, source_folds=(1,)),
        replace(settings, released_gru=True),
        replace(settings, inner_parts=3),
        replace(settings, cross_fitted=False),
    ]
    prints = [replace(job, settings=other).fingerprint("acc") for other in (settings, *others)]
    assert len(set(prints)) == len(prints)
    own = [replace(job, settings=other).own_fingerprint("acc") for other in (settings, *others[4:])]
    assert len(set(own)) == 3
    assert replace(job, settings=others[0]).own_fingerprint("acc") == own[0], "own vectors do not know the router"
    assert replace(job, sources={"acc": ("uvm",)}).fingerprint("acc") not in prints
