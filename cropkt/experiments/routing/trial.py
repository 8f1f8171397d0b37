"""What runs inside Ray Tune when routers are tuned and fitted. The worker outlives its trials, and holds the target."""

import math
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor

from cropkt.data.persons import person_digest
from cropkt.data.study import Cohort
from cropkt.experiments.progress import Stage
from cropkt.experiments.sweep.trial import read_target
from cropkt.experiments.sweep.watch import WORKER_DIED
from cropkt.files import digest
from cropkt.models.checkpoint import save_model
from cropkt.routing.cards import ExpertCard, RouterCard, RouterShape
from cropkt.routing.methods import RoutingSettings, fit_fold, recipe_of, tuned_methods
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
    RoutingFolder,
    read_own_vectors,
    read_source_vectors,
    store_fold,
    store_own_vectors,
)
from cropkt.training.loop import TrainingError
from cropkt.training.sources import SourcePlan, source_fingerprint
from cropkt.transfer.pair import TargetCohort
from cropkt.transfer.store import ResultsFolder

ROUTING_VERSION = 1
"""Raised when the code changes what the same data and settings give."""
REPORTS = 4
"""How often a trial of a search says how it does; between two reports it may be stopped."""
TUNED_AS = {"router": "roupkt", "fusion": "fusion_tuned", "abmil": "own_tuned"}
"""The method that a search chooses settings for, by its kind."""


@dataclass(frozen=True)
class RoutingJob:
    """What every trial needs to know; the same for all. `sources` are the experts of a target beside its own model."""

    results: ResultsFolder
    plan: SourcePlan
    folds: tuple[int, ...]
    cohorts: dict[str, Cohort]
    sources: dict[str, tuple[str, ...]]
    settings: RoutingSettings

    def folder(self, target: str) -> RoutingFolder:
        """Where the target's results lie."""
        return RoutingFolder(self.results, target)

    def fingerprint(self, target: str) -> str:
        """Changes whenever anything changes, but a search, that decides what comes out for a target."""
        models = [source_fingerprint(self.plan, self.cohorts[code], self.folds) for code in self.sources[target]]
        return digest(ROUTING_VERSION, self.own_fingerprint(target), models, asdict(self.settings))

    def own_fingerprint(self, target: str) -> str:
        """Of the target's own models, those that did not see inner parts among them."""
        folds = range(len(self.cohorts[target].folds))
        return digest(
            ROUTING_VERSION,
            [self.plan.fingerprint(self.cohorts[target], fold) for fold in folds],
            self.settings.inner_parts,
            self.settings.cross_fitted,
        )


class _Fold:
    """An outer fold held ready: its patients, and its expert vectors for the final fit and, searched, inner parts."""

    def __init__(self, job: RoutingJob, target: TargetCohort, fold: int, *, searched: bool) -> None:
        code, settings = target.cohort.code, job.settings
        self.outer: OuterFold = outer_fold(target, fold, settings.inner_parts, job.plan.seed)
        path, fingerprint = job.folder(code).own_path(fold), job.own_fingerprint(code)
        patients = target.bags.patients
        needed = left_out_parts(self.outer, cross_fitted=settings.cross_fitted, searched=searched)
        own = read_own_vectors(path, fingerprint, patients)
        if not {(), *needed} <= set(own):
            own = own_vectors(job.plan, target, self.outer, needed)
            store_own_vectors(path, own, fingerprint, patients)
        sources = read_source_vectors(job.results, code, patients, job.sources[code], settings.source_folds)

        def vectors(held_out: int | None) -> Tensor:
            return expert_vectors(own, sources, self.outer, held_out, cross_fitted=settings.cross_fitted)

        self.final = vectors(None)
        self.inner = [vectors(part) for part in range(len(self.outer.inner))] if searched else []


class _Held:
    """The target, and the outer fold, that this process works on."""

    def __init__(self) -> None:
        self._target: TargetCohort | None = None
        self._fold: tuple[int, _Fold] | None = None

    def get(self, job: RoutingJob, code: str, fold: int, *, searched: bool) -> tuple[TargetCohort, _Fold]:
        if self._target is None or self._target.cohort.code != code:
            self._target = self._fold = None  # let go of the last target before the next one is read
            self._target = read_target(job.cohorts[code], job.plan)
        if self._fold is None or self._fold[0] != fold:
            self._fold = (fold, _Fold(job, self._target, fold, searched=searched))
        return self._target, self._fold[1]


class SearchTrial(tune.Trainable):
    """One point of a search: `config` has target, fold, kind and values. Reports the score on inner splits."""

    def setup(self, config: dict[str, Any], job: RoutingJob) -> None:
        """Ray's constructor: nothing is read yet."""
        self._job, self._point = job, config
        self._held = _Held()
        self._training: InnerTraining | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next point for this process."""
        self._point, self._training = new_config, None
        return True

    def step(self) -> dict[str, Any]:
        """Some epochs. A point that cannot be trained says so, and scores nothing."""
        try:
            return self._step()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return {"done": True, "finished": False, "score": 0.0, "loss": 0.0, "failed": reason}

    def _step(self) -> dict[str, Any]:
        job, point = self._job, self._point
        recipe = recipe_of(point["kind"], point["values"], job.settings, job.plan)
        if self._training is None:
            target, fold = self._held.get(job, point["target"], point["fold"], searched=True)
            self._training = InnerTraining(
                recipe,
                target,
                fold.outer,
                fold.inner,
                intervals=job.plan.architecture.intervals,
                seed=job.plan.seed,
                precision=job.plan.precision,
            )
        last = recipe.training.epochs - 1
        stop = min(last, -(-recipe.training.epochs // REPORTS) * (self.iteration + 1) - 1)
        for epoch in self._training:
            if epoch >= stop:
                break
        score = self._training.score()
        if not math.isfinite(score.loss):
            raise TrainingError(f"{point['target']}, fold {point['fold']}: the loss on inner parts is {score.loss}")
        finished = stop >= last
        return {"done": finished, "finished": finished, "score": score.c_index, "loss": score.loss, "failed": ""}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: an unfinished trial is trained again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


class FitTrial(tune.Trainable):
    """The final fit of all methods on an outer fold: `config` has the unit (fit_and_store)."""

    def setup(self, config: dict[str, Any], job: RoutingJob) -> None:
        """Ray's constructor: nothing is read yet."""
        self._job, self._unit = job, config["unit"]
        self._held = _Held()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next fold for this process."""
        self._unit = new_config["unit"]
        return True

    def step(self) -> dict[str, Any]:
        """Fit, predict, store; a fold that cannot be fitted stops no other."""
        try:
            fit_and_store(self._job, self._unit, self._held)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return {"done": True, "failed": f"{type(error).__name__}: {error} ({Path(where.filename).name})"}
        return {"done": True, "failed": ""}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: a fitted fold is on disk."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


def fit_and_store(job: RoutingJob, unit: dict[str, Any], held: _Held) -> None:
    """Fit every method on an outer fold, and store it. `unit`: target, fold, chosen (values by kind), source (the one
    chosen on training patients, or None), fingerprint."""
    started = time.perf_counter()
    code, number = unit["target"], unit["fold"]
    target, fold = held.get(job, code, number, searched=False)
    experts = [code, *job.sources[code]]
    tuned = {TUNED_AS[kind]: recipe_of(kind, values, job.settings, job.plan) for kind, values in unit["chosen"].items()}
    fitted = fit_fold(job.plan, target, fold.outer, fold.final, experts, unit["source"], job.settings, tuned)
    folder = job.folder(code)
    recipe = tuned.get("roupkt")
    card = RouterCard(
        target=code,
        fold=number,
        encoder=job.results.encoder,
        sources_architecture=job.results.architecture,
        experts=_expert_cards(job, code, number),
        router=fitted.router.settings,
        shape=RouterShape(
            features=target.bags.features.shape[1],
            vector=fold.final.shape[2],
            intervals=fitted.router.pred_head.out_features,
        ),
        training=recipe.training if recipe else job.settings.training,
        seed=job.plan.seed,
        precision=job.plan.precision,
        train_patients=tuple(person_digest(target.bags.patients[index]) for index in fold.outer.train),
        fingerprint=unit["fingerprint"],
        torch=torch.__version__,
    )
    save_model(folder.router_path(number), fitted.router, asdict(card))
    record = FoldRecord(
        fingerprint=unit["fingerprint"],
        target=code,
        fold=number,
        chosen=unit["chosen"],
        tuned=tuple(tuned_methods(tuned)),
        inner_parts=job.settings.inner_parts,
        cross_fitted=job.settings.cross_fitted,
        chosen_source=unit["source"],
        seconds=time.perf_counter() - started,
    )
    store_fold(folder, fitted, record)


def _expert_cards(job: RoutingJob, target: str, fold: int) -> tuple[ExpertCard, ...]:
    """Which stored models the experts are: the target's own of the fold, then the sources'."""
    folder = job.plan.folder
    cards = []
    for code, folds in [(target, (fold,)), *((source, job.settings.source_folds) for source in job.sources[target])]:
        paths = [job.plan.model_path(code, number).relative_to(folder) for number in folds]
        fingerprints = [job.plan.fingerprint(job.cohorts[code], number) for number in folds]
        cards.append(ExpertCard(code, tuple(str(path) for path in paths), tuple(fingerprints)))
    return tuple(cards)


class FitWatch(tune.Callback):
    """What the driver does as final fits end: progress, and what failed, with the reason."""

    def __init__(self, line: Stage) -> None:
        self.failed: dict[str, str] = {}
        self._line = line

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks; there is nothing to keep."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A fold is done, or could not be fitted."""
        self._ended(trial, trial.last_result.get("failed", ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """A worker has died more often than it may."""
        self._ended(trial, WORKER_DIED)

    def _ended(self, trial: Any, reason: str) -> None:
        name = f"{trial.config['unit']['target']}, fold {trial.config['unit']['fold']}"
        if reason:
            self.failed[name] = reason
        self._line.advance(name)


def unit_order(job: RoutingJob, targets: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(target, outer fold), target by target, so that a worker keeps a target resident."""
    return ((target, fold) for target in targets for fold in range(len(job.cohorts[target].folds)))
