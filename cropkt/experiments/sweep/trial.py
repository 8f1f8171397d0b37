"""What runs inside Ray Tune: a trial measures one pair, by arithmetic on the scores of its target.

The first trials of a target make these scores, together: each takes parts of the target's patients (transfer/scores.py)
and runs over them every model that the target still lacks. So each slide is read once, whatever the number of workers.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cropkt.experiments.run import Run
from cropkt.experiments.tune import Trial
from cropkt.files import content_digest, digest
from cropkt.models.checkpoint import card_path
from cropkt.models.mil import MILModel
from cropkt.training.config import PAN_CANCER
from cropkt.training.sources import SourceModels, held_bags, load_source_models
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import measure_baseline
from cropkt.transfer.pair import PairResult, ResidentTarget, TargetCohort, hold_target, measure_pair, scored_target
from cropkt.transfer.scores import ScoreJob, read_scores, score_target, scores_folder
from cropkt.transfer.store import store_failure, store_pair


@dataclass(frozen=True)
class SweepJob:
    """What Ray stores once for all trials: the run, and the (source or baseline, target) that are to be measured."""

    run: Run
    pairs: tuple[tuple[str, str], ...]

    def scores(self, target: str) -> ScoreJob:
        """What is to be known of `target`, in one pass over its slides."""
        run = self.run
        names = [source for source, of_target in self.pairs if of_target == target]
        modelled = [name for name in names if name not in BASELINES or BASELINES[name].models is not None]
        wanted = {
            name: digest(version, self._models_made(name, target))
            for name in modelled
            if (version := run.fingerprint(name, target)) is not None
        }
        return ScoreJob(scores_folder(run.results) / target, run.cohorts[target], run.plan, wanted)

    def _models_made(self, name: str, target: str) -> list[str]:
        """What the cards of its trained models say. A fingerprint does not tell which slides were missing
        (cards.SourceCard), and scores that a killed run has left may be older than the models."""
        run = self.run
        if name == PAN_CANCER:
            paths = run.pan_cancer(target).weights
        else:
            paths = [] if name in BASELINES else [run.plan.model_path(name, fold) for fold in run.folds]
        return [content_digest(card) for path in paths if (card := card_path(path)).is_file()]


class PairTrial(Trial):
    """A trial measures one pair, or one baseline of one target: `point` is (source, target)."""

    job: SweepJob
    point: tuple[str, str]

    def start(self) -> None:
        """Nothing is held yet."""
        self._held: tuple[ScoreJob, TargetCohort] | None = None
        self._unusable: tuple[str, Exception] | None = None
        self._models: dict[str, SourceModels] = {}

    def step(self) -> dict[str, Any]:
        """Measure and store the pair; a pair that cannot be measured is recorded as failed and stops no other."""
        run, (source, target) = self.job.run, self.point
        started = time.perf_counter()
        try:
            scores, scored = self._scored(target)
            result = self._measure(source, scores, scored)
            fingerprint = run.fingerprint(source, target)
            assert fingerprint is not None  # trials are of the study's cohorts
            pair = store_pair(
                run.results,
                result,
                fingerprint=fingerprint,
                patients=scored.bags.patients,
                seconds=time.perf_counter() - started,
            ).pair
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            store_failure(run.results, source, target, reason)
            return {"done": True, "failed": reason, "left_out": []}
        measures = {name: getattr(pair, name) for name in ("c_index_mean", "c_index_pooled", "n_events", "seconds")}
        left_out = [f"{slide.slide} ({slide.reason})" for slide in scored.bags.skipped]
        return {"done": True, "failed": "", "left_out": left_out, **measures}

    def _scored(self, target: str) -> tuple[ScoreJob, TargetCohort]:
        """The target, every slide of which has been scored, and where its scores are."""
        if self._unusable is not None and self._unusable[0] == target:
            raise self._unusable[1]
        if self._held is None or self._held[1].cohort.code != target:
            scores = self.job.scores(target)
            try:
                bags = score_target(scores, lambda name: self._models_of(name, target))
            except Exception as error:
                self._unusable = (target, error)
                raise
            self._held = (scores, scored_target(scores.cohort, bags, {}))
        return self._held

    def _models_of(self, name: str, target: str) -> Sequence[MILModel]:
        """The models of a source, which this process keeps for the next targets, or of a baseline."""
        if name in BASELINES:
            make = BASELINES[name].models
            assert make is not None  # only such baselines are scored
            return make(target, self.job.run.plan).models
        return self._source(name).models

    def _source(self, name: str) -> SourceModels:
        if name not in self._models:
            self._models[name] = load_source_models(self.job.run.plan, name, self.job.run.folds)
        return self._models[name]

    def _measure(self, source: str, scores: ScoreJob, held: TargetCohort) -> PairResult:
        known = read_scores(scores, source)
        if known is not None:
            held = replace(held, known={source: known})
        if source in BASELINES:
            return measure_baseline(source, held, self.job.run.plan)
        return measure_pair(self._source(source), held)


def read_target(run: Run, target: str) -> ResidentTarget:
    """The target's bags, held; slides that are left out are in `bags.skipped`, without a warning."""
    cohort = run.cohorts[target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are named when the target is swept
        return hold_target(cohort, held_bags(run.plan, cohort).to(run.plan.device))
