"""What runs inside Ray Tune: a trial measures one pair. The worker outlives its trials, and holds the target."""

import time
import warnings
from typing import Any

from cropkt.data.bags import read_bags
from cropkt.experiments.run import Run
from cropkt.experiments.tune import Trial
from cropkt.models.precision import torch_dtype
from cropkt.training.sources import load_source_models
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import measure_baseline
from cropkt.transfer.pair import PairResult, TargetCohort, hold_target, measure_pair
from cropkt.transfer.store import store_failure, store_pair


class PairTrial(Trial):
    """A trial measures one pair, or one baseline of one target: `point` is (source, target), `job` the run."""

    job: Run
    point: tuple[str, str]

    def start(self) -> None:
        """Nothing is held yet."""
        self._held: TargetCohort | None = None
        self._unreadable: tuple[str, Exception] | None = None

    def step(self) -> dict[str, Any]:
        """Measure and store the pair; a pair that cannot be measured is recorded as failed and stops no other."""
        run, (source, target) = self.job, self.point
        started = time.perf_counter()
        try:
            held = self._hold(target)
            result = _measure(run, source, held)
            fingerprint = run.fingerprint(source, target)
            assert fingerprint is not None  # trials are of the study's cohorts
            pair = store_pair(
                run.results,
                result,
                fingerprint=fingerprint,
                patients=held.bags.patients,
                seconds=time.perf_counter() - started,
            ).pair
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            store_failure(run.results, source, target, reason)
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
                self._held = read_target(self.job, target)
            except Exception as error:
                self._unreadable = (target, error)
                raise
        return self._held


def read_target(run: Run, target: str) -> TargetCohort:
    """The target's bags on the plan's device; slides that are left out are in `bags.skipped`, without a warning."""
    cohort, plan = run.cohorts[target], run.plan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slides left out go into the trial's result, and the driver names them
        bags = read_bags(cohort, dtype=torch_dtype(plan.precision), strict=plan.strict)
    return hold_target(cohort, bags.to(plan.device))


def _measure(run: Run, source: str, held: TargetCohort) -> PairResult:
    plan = run.plan
    if source in BASELINES:
        return measure_baseline(source, held, plan)
    return measure_pair(load_source_models(plan, source, run.folds), held)
