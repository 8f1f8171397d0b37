"""What Ray and MLflow cost by themselves: trials that do nothing, and runs with as many numbers as a pair's."""

import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cropkt.experiments.cluster import session
from cropkt.experiments.config import ClusterConfig

METRICS, PARAMETERS = 12, 20
"""About as many as a pair's run has."""


@dataclass(frozen=True)
class TrialCost:
    """Wall seconds: Ray's start, and what a trial and a run of MLflow cost; None for a package that is not there."""

    trials: int
    ray_start: float | None
    ray_trial: float | None
    mlflow_run: float | None


def measure_trials(trials: int) -> TrialCost:
    """Measure `trials` empty trials and as many runs in an SQLite store; what is not installed is left out."""
    start, trial = _ray(trials) if find_spec("ray") else (None, None)
    return TrialCost(trials, start, trial, _mlflow(trials) if find_spec("mlflow") else None)


def _ray(trials: int) -> tuple[float, float]:
    with session(ClusterConfig()) as cluster, tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        from cropkt.experiments.tune import Trial, run_trials

        class Nothing(Trial):
            def step(self) -> dict[str, Any]:
                return {"done": True}

        workers = cluster.workers(trials)
        run_trials(Nothing, None, [0], workers, Path(scratch) / "first")
        started = time.perf_counter()
        run_trials(Nothing, None, list(range(trials)), workers, Path(scratch) / "all")
        return started - begun, (time.perf_counter() - started) / trials


def _mlflow(runs: int) -> float:
    from cropkt.experiments.tracking.store import Entry, Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/mlflow.db", Path(folder))
        experiment = store.experiment("benchmark")
        entry = Entry(
            "pair",
            {"kind": "benchmark"},
            {f"parameter_{number}": number for number in range(PARAMETERS)},
            {f"metric_{number}": number for number in range(METRICS)},
        )
        store.log(experiment, entry)
        begun = time.perf_counter()
        for _ in range(runs):
            store.log(experiment, entry)
        return (time.perf_counter() - begun) / runs
