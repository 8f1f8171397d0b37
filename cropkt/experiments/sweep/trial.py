"""What runs inside Ray Tune: a trial measures one pair. The worker outlives its trials, and holds the target."""

import time
import warnings
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from cropkt.data.bags import read_bags
from cropkt.data.study import Cohort
from cropkt.training.sources import SourcePlan, load_source_models, source_fingerprint, torch_dtype
from cropkt.transfer.baselines import baseline_fingerprint, measure_baseline
from cropkt.transfer.pair import PairResult, TargetCohort, hold_target, measure_pair, pair_fingerprint
from cropkt.transfer.protocol import BASELINES
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair


@dataclass(frozen=True)
class SweepJob:
    """What every trial needs to know; the same for all, so Ray stores it once."""

    results: ResultsFolder
    plan: SourcePlan
    folds: tuple[int, ...]
    cohorts: dict[str, Cohort]

    def fingerprint(self, source: str, target: str) -> str | None:
        """Changes whenever anything changes that decides what the pair, or the baseline `source`, measures; None when
        the study does not have its cohorts."""
        if not {source, target} <= {*self.cohorts, *BASELINES}:
            return None
        plan, cohort = self.plan, self.cohorts[target]
        if source in BASELINES:
            settings = (plan.seed, plan.training.loss, plan.precision)
            return baseline_fingerprint(source, cohort, plan.architecture, *settings)
        return pair_fingerprint(source_fingerprint(plan, self.cohorts[source], self.folds), cohort, plan.precision)


class InOrder(FIFOScheduler):
    """Trials start in the order of their making, on whichever worker is free or new.

    Tune's own first choice is the trial whose worker is still starting. A free worker would take that trial over, the
    start would be broken off and another one begun: with pairs shorter than a start, one worker would do all the work.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """No trial comes before its turn."""


class PairTrial(tune.Trainable):
    """One pair, or one baseline of one target, a trial."""

    def setup(self, config: dict[str, Any], job: SweepJob) -> None:
        """Ray's constructor: nothing is read yet."""
        self._job = job
        self._held: TargetCohort | None = None
        self._unreadable: tuple[str, Exception] | None = None
        self._pair: tuple[str, str] = config["pair"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next pair for this process."""
        self._pair = new_config["pair"]
        return True

    def step(self) -> dict[str, Any]:
        """Measure and store the pair; a pair that cannot be measured is recorded as failed and stops no other."""
        source, target = self._pair
        started = time.perf_counter()
        try:
            held = self._hold(target)
            result = _measure(self._job, source, held)
            fingerprint = self._job.fingerprint(source, target)
            assert fingerprint is not None  # trials are of the study's cohorts
            pair = store_pair(
                self._job.results,
                result,
                fingerprint=fingerprint,
                patients=held.bags.patients,
                seconds=time.perf_counter() - started,
            ).pair
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            store_failure(self._job.results, source, target, reason)
            return {"done": True, "failed": reason, "left_out": []}
        measures = {name: getattr(pair, name) for name in ("c_index_mean", "c_index_pooled", "n_events", "seconds")}
        left_out = [f"{slide.slide} ({slide.reason})" for slide in held.bags.skipped]
        return {"done": True, "failed": "", "left_out": left_out, **measures}

    def _hold(self, target: str) -> TargetCohort:
        if self._unreadable is not None and self._unreadable[0] == target:
            raise self._unreadable[1]
        if self._held is None or self._held.cohort.code != target:
            self._held = None  # let go of the last target before the next one is read
            try:
                self._held = read_target(self._job.cohorts[target], self._job.plan)
            except Exception as error:
                self._unreadable = (target, error)
                raise
        return self._held

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: a finished pair is on disk, an unfinished one is measured again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


def read_target(cohort: Cohort, plan: SourcePlan) -> TargetCohort:
    """The cohort's bags on the plan's device; slides that are left out are in `bags.skipped`, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slides left out go into the trial's result, and the driver names them
        bags = read_bags(cohort, dtype=torch_dtype(plan.precision), strict=plan.strict)
    return hold_target(cohort, bags.to(plan.device))


def _measure(job: SweepJob, source: str, held: TargetCohort) -> PairResult:
    plan = job.plan
    if source in BASELINES:
        loss, precision = plan.training.loss, plan.precision
        return measure_baseline(source, held, plan.architecture, seed=plan.seed, loss=loss, precision=precision)
    return measure_pair(load_source_models(plan, source, job.folds), held, precision=plan.precision)
