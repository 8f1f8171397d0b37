"""Ray Train: one trainer whose workers go through jobs, such as the cohorts that lack source models.

A trainer per job would cost seconds of start-up each (docs/cluster.md has the figures), so one worker group takes the
jobs in rounds, the largest first, one job per worker and round (worker.py).
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cropkt.experiments.cluster import Cluster, Workers
from cropkt.experiments.progress import beside, stage
from cropkt.experiments.sources.worker import ATTEMPTS, TrainingJob, attempts_path, failure_path, rounds, train_rounds
from cropkt.files import read_json
from cropkt.training.sources import SourcePlan


def train_jobs(
    plan: SourcePlan,
    jobs: Sequence[TrainingJob],
    cluster: Cluster,
    scratch: Path,
    *,
    title: str,
    unit: str,
    bytes_each: int = 0,
) -> dict[str, str]:
    """Do `jobs` with Ray Train; returns those that could not be done, by name, with the reason.

    Marks that a killed run has left are removed. `scratch` as in `train_missing_sources`; title, unit: of the progress.
    bytes_each: what a worker holds throughout; where it is more than its part of the memory, fewer work.
    """
    if not jobs:
        return {}
    for job in jobs:
        failure_path(plan, job).unlink(missing_ok=True)
        attempts_path(plan, job).unlink(missing_ok=True)
    workers = cluster.workers(len(jobs))
    if plan.memory is not None and bytes_each > plan.memory:
        workers = replace(workers, count=max(1, workers.count * plan.memory // bytes_each))
    with _progress(plan, jobs, title, unit):
        _fit(plan, rounds(jobs, workers.count), workers, scratch)
    return {
        job.name: str((read_json(failure_path(plan, job)) or {}).get("reason", "its worker died"))
        for job in jobs
        if not job.done(plan)
    }


def _fit(plan: SourcePlan, schedule: list[list[TrainingJob]], workers: Workers, scratch: Path) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        train_rounds,
        train_loop_config={"plan": plan, "schedule": schedule},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=bool(workers.gpus), resources_per_worker=workers.resources
        ),
        run_config=RunConfig(
            name="sources",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=ATTEMPTS * sum(map(len, schedule))),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except TrainingFailedError:
        # Workers died more often than they may: what is missing is told cohort by cohort.
        return
    except SystemExit as stopped:
        # Ray answers Ctrl-C with exit code 0, as if all were done, and leaves its handler behind.
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, interrupt)


@contextmanager
def _progress(plan: SourcePlan, jobs: Sequence[TrainingJob], title: str, unit: str) -> Iterator[None]:
    """Show what lands in the folder, while the block (which waits for Ray) runs."""
    waiting = {path: job.name for job in jobs for path in job.parts(plan)}
    started = time.time()

    def watch(finished: threading.Event) -> None:
        with stage(title, len(waiting), unit) as line:
            while waiting:
                for path in [path for path in waiting if path.exists() and path.stat().st_mtime >= started]:
                    line.advance(waiting.pop(path))
                line.show(", ".join(job.name for job in jobs if attempts_path(plan, job).exists()))
                if finished.wait(0.5):
                    break
            for path in [path for path in waiting if path.exists()]:
                line.advance(waiting.pop(path))

    with beside(watch):
        yield
