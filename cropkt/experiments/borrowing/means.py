"""Mean features of every cohort, each slide read once: Ray trials over the cohorts that have none stored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cropkt.borrowing.axes import Moments, cohort_moments
from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders
from cropkt.borrowing.means import CohortMeans, means_of, means_path, stored_means, with_outcomes
from cropkt.errors import StudyError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run
from cropkt.experiments.tune import Trial, run_trials
from cropkt.rivals.case import Others, gather_others
from cropkt.seeds import named_seed
from cropkt.survival.cox import RidgeCox, ridge_cox
from cropkt.transfer.store import ResultsFolder


class MeansTrial(Trial):
    """A trial reads one cohort: `point` is its code, `job` the run."""

    job: Run
    point: str

    def step(self) -> dict[str, Any]:
        """Read and store; a cohort that cannot be read stops no other."""
        try:
            cohort = self.job.cohorts[self.point]
            means_of(cohort, run_means_path(self.job.results, self.point), strict=self.job.plan.strict)
        except Exception as error:
            return {"done": True, "failed": f"{type(error).__name__}: {error}"}
        return {"done": True, "failed": ""}


def run_means_path(results: ResultsFolder, code: str) -> Path:
    """Where a run keeps a cohort's means."""
    return means_path(results.out, results.encoder, code)


def measure_missing_means(run: Run, codes: Sequence[str], cluster: Cluster, scratch: Path) -> None:
    """Measure what is not stored of the cohorts `codes`. Raises StudyError with those that cannot be read."""
    todo = [code for code in codes if stored_means(run_means_path(run.results, code), run.cohorts[code]) is None]
    if not todo:
        return
    failed: dict[str, str] = {}
    with stage("mean features", len(todo), "cohorts") as line:

        def on_end(code: str, result: Mapping[str, Any], died: str) -> None:
            if reason := died or result.get("failed", ""):
                failed[code] = reason
            line.advance(code)

        run_trials(MeansTrial, run, todo, cluster.workers(len(todo)), scratch, on_end=on_end)
    if failed:
        raise StudyError("; ".join(f"{code}: {reason}" for code, reason in failed.items()))


class CohortShelf:
    """Patients, moments and ridge models of the run's cohorts, each made on first use and kept by this process."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._means: dict[str, CohortMeans] = {}
        self._patients: dict[str, CohortPatients] = {}
        self._moments: dict[str, Moments] = {}
        self._ridges: dict[str, RidgeCox | None] = {}

    def means(self, code: str) -> CohortMeans:
        """The stored means of a cohort; measured where they are not there."""
        if code not in self._means:
            path = run_means_path(self._run.results, code)
            self._means[code] = means_of(self._run.cohorts[code], path, strict=self._run.plan.strict)
        return self._means[code]

    def patients(self, code: str) -> CohortPatients:
        """A cohort's patients with their outcomes."""
        if code not in self._patients:
            self._patients[code] = with_outcomes(self._run.cohorts[code], self.means(code))
        return self._patients[code]

    def moments(self, code: str) -> Moments:
        """A cohort's moments."""
        if code not in self._moments:
            self._moments[code] = cohort_moments(code, self.patients(code).features)
        return self._moments[code]

    def ridge(self, code: str) -> RidgeCox | None:
        """A cohort's own ridge Cox model; None without an event."""
        if code not in self._ridges:
            own = self.patients(code)
            seed = named_seed(self._run.plan.seed, "ridge source", code)
            has_events = bool(np.any(own.event))
            self._ridges[code] = ridge_cox(own.features, own.time, own.event, seed=seed) if has_events else None
        return self._ridges[code]

    def lenders(self, codes: Sequence[str]) -> Lenders:
        """`codes` as lenders to a target that is not among them."""
        return gather_lenders([self.patients(code) for code in codes], moments=[self.moments(code) for code in codes])

    def others(self, codes: Sequence[str]) -> Others:
        """`codes` as all that a rival may use of them; the target is not among them."""
        ridges = {code: ridge for code in codes if (ridge := self.ridge(code)) is not None}
        patients, moments = [self.patients(code) for code in codes], [self.moments(code) for code in codes]
        return gather_others(patients, ridges, moments=moments)
