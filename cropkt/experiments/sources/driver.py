"""Ray Train: one trainer whose workers go through the cohorts that lack source models, or other such jobs.

A trainer per cohort would cost seconds of start-up each (docs/cluster.md has the figures), so one worker group takes
the jobs in rounds, the largest first, one job per worker and round (worker.py). Models that reached the results folder
are never trained again.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cropkt.experiments.cluster import Cluster, Workers, session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.sources.worker import (
    ATTEMPTS,
    CohortJob,
    TrainingJob,
    attempts_path,
    failure_path,
    rounds,
    train_rounds,
)
from cropkt.experiments.tracking.sweep import tracking
from cropkt.experiments.workspace import workspace
from cropkt.files import read_json
from cropkt.models.checkpoint import card_path, why_no_model
from cropkt.training.cards import read_source_card
from cropkt.training.sources import SourcePlan, missing_folds, store_null_model


def train_sources(config: RunConfig) -> int:
    """Train the selected source models that are missing; returns the exit code. Logs them to MLflow."""
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        with workspace(run.results) as scratch:
            claim_results(run)
            failures = train_missing_sources(run, cluster, scratch)
            for number in range(1, run.config.repeats):
                of_repeat = train_missing_sources(run.repeated(number), cluster, scratch / f"repeat_{number}")
                failures |= {f"{cohort}, repeat {number}": reason for cohort, reason in of_repeat.items()}
            with tracking(run.results, run.experiment, config.tracking) as tracker:
                if tracker is not None:
                    tracker.log_sources()
    _print_own_c_indices(run)
    for cohort, reason in failures.items():
        print(f"failed: {cohort}: {reason}")
    return SOME_FAILED if failures else DONE


def _print_own_c_indices(run: Run) -> None:
    print(f"{'cohort':10s} {'models':>6s}  C-index on the matching test fold: mean (folds)")
    for code in run.sources:
        cards = [read_source_card(run.plan.model_path(code, fold)) for fold in run.folds]
        values = [card.test_c_index for card in cards if card is not None]
        known = [value for value in values if value is not None]
        mean = f"{sum(known) / len(known):.3f}" if known else "none"
        print(f"{code:10s} {len(values):6d}  {mean} ({' '.join('-' if v is None else f'{v:.2f}' for v in values)})")
    print(f"models: {run.plan.folder}")


def train_missing_sources(run: Run, cluster: Cluster, scratch: Path) -> dict[str, str]:
    """Train, with Ray Train, the run's source models that are missing (all of them with `--no-resume`).

    `scratch` is a folder that every node sees, for Ray's checkpoints. Prints the slides that were left out. Returns
    the cohorts that could not be trained, with the reason. Raises CheckpointError when the folder's models were made
    with other settings.
    """
    plan = run.plan
    store_null_model(plan)
    jobs = _jobs(run)
    failures = train_jobs(plan, jobs, cluster, scratch, title="training sources", unit="models")
    for job in jobs:
        if job.name not in failures:
            card = read_source_card(plan.model_path(job.cohort.code, job.folds[0]))
            if card is not None and card.skipped_slides:
                print(f"warning: source {job.cohort.code}: slides left out: {', '.join(card.skipped_slides)}")
    return failures


def train_jobs(
    plan: SourcePlan, jobs: Sequence[TrainingJob], cluster: Cluster, scratch: Path, *, title: str, unit: str
) -> dict[str, str]:
    """Do `jobs` with Ray Train; returns those that could not be done, by name, with the reason.

    Marks that a killed run has left are removed. `scratch` as in `train_missing_sources`; title, unit: of the progress.
    """
    if not jobs:
        return {}
    for job in jobs:
        failure_path(plan, job).unlink(missing_ok=True)
        attempts_path(plan, job).unlink(missing_ok=True)
    workers = cluster.workers(len(jobs))
    with _progress(plan, jobs, title, unit):
        _fit(plan, rounds(jobs, workers.count), workers, scratch)
    return {
        job.name: str((read_json(failure_path(plan, job)) or {}).get("reason", "its worker died"))
        for job in jobs
        if not job.done(plan)
    }


def _jobs(run: Run) -> list[CohortJob]:
    """The missing models of each source cohort."""
    plan, jobs, damaged = run.plan, [], []
    for code in run.sources:
        if not run.config.resume:
            for fold in run.folds:
                card_path(plan.model_path(code, fold)).unlink(missing_ok=True)
        wanted = missing_folds(plan, run.cohorts[code], run.folds)
        damaged += [f"{code}, fold {fold} ({why})" for fold in wanted if (why := _damage(plan.model_path(code, fold)))]
        if wanted:
            jobs.append(CohortJob(run.cohorts[code], tuple(wanted)))
    if damaged:
        print(f"warning: {len(damaged)} damaged models are trained again: {', '.join(damaged[:6])}")
    return jobs


def _damage(weights: Path) -> str:
    """What is wrong with a model of which there is something; "" for a whole one, and where there is nothing."""
    if not (weights.exists() or card_path(weights).exists()):
        return ""
    return why_no_model(weights) or ("" if read_source_card(weights) is not None else "its card is damaged")


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
    finished = threading.Event()

    def watch() -> None:
        with stage(title, len(waiting), unit) as line:
            while waiting:
                for path in [path for path in waiting if path.exists() and path.stat().st_mtime >= started]:
                    line.advance(waiting.pop(path))
                line.show(", ".join(job.name for job in jobs if attempts_path(plan, job).exists()))
                if finished.wait(0.5):
                    break
            for path in [path for path in waiting if path.exists()]:
                line.advance(waiting.pop(path))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
