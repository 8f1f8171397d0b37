"""What runs inside Ray Tune when routers are tuned and fitted. The worker outlives its trials, and holds the target."""

import math
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cropkt.data.bags import passing_slides
from cropkt.data.persons import person_digest
from cropkt.experiments.routing.job import FoldFit, RoutingJob, SearchPoint
from cropkt.experiments.run import Run
from cropkt.experiments.sweep.trial import read_target
from cropkt.experiments.tune import Trial
from cropkt.files import digest
from cropkt.models.checkpoint import save_model
from cropkt.routing.cards import ExpertCard, RouterCard, RouterShape
from cropkt.routing.methods import fit_fold, recipe_of, tuned_methods
from cropkt.routing.nested import (
    InnerTraining,
    OuterFold,
    expert_vectors,
    left_out_parts,
    outer_fold,
    own_vectors,
)
from cropkt.routing.store import (
    FoldRecord,
    read_own_vectors,
    read_source_vectors,
    store_fold,
    store_own_vectors,
)
from cropkt.training.loop import TrainingError
from cropkt.transfer.pair import ResidentTarget

REPORTS = 4
"""How often a trial of a search says how it does; between two reports it may be stopped."""
TUNED_AS = {"router": "roupkt", "fusion": "fusion_tuned", "abmil": "own_tuned"}
"""The method that a search chooses settings for, by its kind."""


class _Fold:
    """An outer fold held ready: its patients, and its expert vectors for the final fit and, searched, inner parts."""

    def __init__(self, job: RoutingJob, held: ResidentTarget, fold: int, *, searched: bool) -> None:
        code, settings = held.cohort.code, job.settings
        self.outer: OuterFold = outer_fold(held, fold, settings.inner_parts, job.run.plan.seed)
        path, fingerprint = job.folder(code).own_path(fold), job.own_fingerprint(code)
        patients = held.bags.patients
        needed = left_out_parts(self.outer, cross_fitted=settings.cross_fitted, searched=searched)
        own = read_own_vectors(path, fingerprint, patients)
        if not {(), *needed} <= set(own):
            own = own_vectors(job.run.plan, held, self.outer, needed)
            if not passing_slides(held.cohort, held.bags):
                store_own_vectors(path, own, fingerprint, patients)
        lent = job.lenders.results
        sources = read_source_vectors(lent, code, patients, job.sources[code], settings.source_folds)

        def vectors(held_out: int | None) -> Tensor:
            return expert_vectors(own, sources, self.outer, held_out, cross_fitted=settings.cross_fitted)

        self.final = vectors(None)
        self.inner = [vectors(part) for part in range(len(self.outer.inner))] if searched else []


class _Held:
    """The target, and the outer fold, that this process works on."""

    def __init__(self) -> None:
        self._target: ResidentTarget | None = None
        self._fold: tuple[int, _Fold] | None = None

    def get(self, job: RoutingJob, code: str, fold: int, *, searched: bool) -> tuple[ResidentTarget, _Fold]:
        if self._target is None or self._target.cohort.code != code:
            self._target = self._fold = None  # let go of the last target before the next one is read
            self._target = read_target(job.run, code)
        if self._fold is None or self._fold[0] != fold:
            self._fold = (fold, _Fold(job, self._target, fold, searched=searched))
        return self._target, self._fold[1]


class SearchTrial(Trial):
    """One point of a search. Reports the score on inner splits."""

    job: RoutingJob
    point: SearchPoint

    def start(self) -> None:
        """Nothing is held yet."""
        self._held = _Held()
        self.begin()

    def begin(self) -> None:
        """Nothing of this point is trained yet."""
        self._training: InnerTraining | None = None

    def step(self) -> dict[str, Any]:
        """Some epochs. A point that cannot be trained says so, and scores nothing."""
        try:
            return self._step()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return {"done": True, "finished": False, "score": 0.0, "loss": 0.0, "failed": reason}

    def _step(self) -> dict[str, Any]:
        job, point = self.job, self.point
        plan = job.run.plan
        recipe = recipe_of(point.kind, point.values, job.settings, plan)
        if self._training is None:
            target, fold = self._held.get(job, point.target, point.fold, searched=True)
            self._training = InnerTraining(
                recipe,
                target,
                fold.outer,
                fold.inner,
                intervals=plan.architecture.intervals,
                seed=plan.seed,
                precision=plan.precision,
            )
        last = recipe.training.epochs - 1
        stop = min(last, -(-recipe.training.epochs // REPORTS) * (self.iteration + 1) - 1)
        for epoch in self._training:
            if epoch >= stop:
                break
        score = self._training.score()
        if not math.isfinite(score.loss):
            raise TrainingError(f"{point.target}, fold {point.fold}: the loss on inner parts is {score.loss}")
        finished = stop >= last
        return {"done": finished, "finished": finished, "score": score.c_index, "loss": score.loss, "failed": ""}


class FitTrial(Trial):
    """The final fit of all methods on an outer fold."""

    job: RoutingJob
    point: FoldFit

    def start(self) -> None:
        """Nothing is held yet."""
        self._held = _Held()

    def step(self) -> dict[str, Any]:
        """Fit, predict, store; a fold that cannot be fitted stops no other."""
        try:
            fit_and_store(self.job, self.point, self._held)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return {"done": True, "failed": f"{type(error).__name__}: {error} ({Path(where.filename).name})"}
        return {"done": True, "failed": ""}


def fit_and_store(job: RoutingJob, fit: FoldFit, held: _Held) -> None:
    """Fit every method on an outer fold, and store it."""
    started = time.perf_counter()
    code, number = fit.target, fit.fold
    target, fold = held.get(job, code, number, searched=False)
    experts = [code, *job.sources[code]]
    plan = job.run.plan
    tuned = {TUNED_AS[kind]: recipe_of(kind, values, job.settings, plan) for kind, values in fit.chosen.items()}
    fitted = fit_fold(
        plan,
        target,
        fold.outer,
        fold.final,
        experts,
        fit.source,
        job.settings,
        tuned,
        lenders=job.lenders.plan,
    )
    folder = job.folder(code)
    recipe = tuned.get("roupkt")
    fingerprint = digest(fit.fingerprint, "lacks slides") if _lacks_slides(job, target) else fit.fingerprint
    card = RouterCard(
        target=code,
        fold=number,
        encoder=job.run.results.encoder,
        sources_architecture=job.run.results.architecture,
        experts=_expert_cards(job, code, number),
        router=fitted.router.settings,
        shape=RouterShape(
            features=target.bags.features.shape[1],
            vector=fold.final.shape[2],
            intervals=fitted.router.pred_head.out_features,
        ),
        training=recipe.training if recipe else job.settings.training,
        seed=plan.seed,
        precision=plan.precision,
        train_patients=tuple(person_digest(target.bags.patients[index]) for index in fold.outer.train),
        fingerprint=fingerprint,
        torch=torch.__version__,
    )
    save_model(folder.router_path(number), fitted.router, asdict(card))
    record = FoldRecord(
        fingerprint=fingerprint,
        target=code,
        fold=number,
        chosen=fit.chosen,
        tuned=tuple(tuned_methods(tuned)),
        inner_parts=job.settings.inner_parts,
        cross_fitted=job.settings.cross_fitted,
        chosen_source=fit.source,
        seconds=time.perf_counter() - started,
    )
    store_fold(folder, fitted, record)


def _lacks_slides(job: RoutingJob, held: ResidentTarget) -> bool:
    """Whether slides were left out that may be readable the next time: the fold is then fitted again."""
    code, lent = held.cohort.code, job.lenders.results
    records = [job.run.results.record(code, code), *(lent.record(source, code) for source in job.sources[code])]
    passing = any(record is not None and record.pair.passing_slides for record in records)
    return passing or bool(passing_slides(held.cohort, held.bags))


def _expert_cards(job: RoutingJob, target: str, fold: int) -> tuple[ExpertCard, ...]:
    """Which stored models the experts are: the target's own of the fold, then the sources'."""
    experts: list[tuple[str, tuple[int, ...], Run]] = [(target, (fold,), job.run)]
    experts += [(source, job.settings.source_folds, job.lenders) for source in job.sources[target]]
    cards = []
    for code, folds, run in experts:
        plan = run.plan
        paths = [plan.model_path(code, number).relative_to(plan.folder) for number in folds]
        fingerprints = [plan.fingerprint(run.cohorts[code], number) for number in folds]
        cards.append(ExpertCard(code, tuple(str(path) for path in paths), tuple(fingerprints)))
    return tuple(cards)
