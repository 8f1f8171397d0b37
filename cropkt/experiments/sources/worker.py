"""What runs inside Ray Train: the workers go through rounds of jobs and report a checkpoint after each.

A job is a cohort's source models, or networks that many cohorts train together. When a worker dies, Ray restarts all of
them and they go on with the round after the last checkpoint. That round's jobs are then done one at a time, so that the
one that kills its worker shows: after ATTEMPTS it is written down as failed, and the others go on without it.
"""

import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cropkt.data.study import Cohort
from cropkt.experiments.cluster import spare_the_collector
from cropkt.files import read_json, write_json
from cropkt.models.checkpoint import card_path
from cropkt.training.sources import SourcePlan, missing_folds, train_cohort, untrained_folds

ATTEMPTS = 3
"""How often a job whose worker dies is begun."""


class TrainingJob(Protocol):
    """What one worker trains in one round.

    name: for people. size: work to do, comparable among the jobs of a schedule. done: whether nothing of it is missing.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def done(self, plan: SourcePlan) -> bool: ...

    def folder(self, plan: SourcePlan) -> Path:
        """Where its models lie, and what is noted of their training."""

    def parts(self, plan: SourcePlan) -> list[Path]:
        """Files that come one by one as it gets on; the last one says that it is done."""

    def train(self, plan: SourcePlan, held: dict[str, Any]) -> dict[int, float]:
        """Train and store what is missing; returns the last loss of each model. `held`: what the process keeps from one
        job to the next."""


Job = TypeVar("Job", bound=TrainingJob)


@dataclass(frozen=True)
class CohortJob:
    """The folds of one cohort to train."""

    cohort: Cohort
    folds: tuple[int, ...]

    @property
    def name(self) -> str:
        """The cohort's code."""
        return self.cohort.code

    @property
    def size(self) -> int:
        """Work to do, in patches."""
        return int(self.cohort.slides["patches"].sum()) * len(self.folds)

    def done(self, plan: SourcePlan) -> bool:
        """Whether every fold has a model of today's."""
        return not untrained_folds(plan, self.cohort, self.folds)

    def folder(self, plan: SourcePlan) -> Path:
        """The cohort's."""
        return plan.folder / self.cohort.code

    def parts(self, plan: SourcePlan) -> list[Path]:
        """The cards of the folds' models."""
        return [card_path(plan.model_path(self.cohort.code, fold)) for fold in self.folds]

    def train(self, plan: SourcePlan, held: dict[str, Any]) -> dict[int, float]:  # noqa: ARG002
        """Train the folds that are missing. A cohort is needed once, so nothing is kept."""
        cards = train_cohort(plan, self.cohort, missing_folds(plan, self.cohort, self.folds))
        return {card.fold: card.losses[-1] for card in cards}


def rounds(jobs: Sequence[Job], workers: int) -> list[list[Job]]:
    """Jobs in rounds of at most `workers`, the largest first: jobs of a round are about equally long, and all waiting
    at the ends of rounds adds up to less than the largest job."""
    ordered = sorted(jobs, key=lambda job: (-job.size, job.name))
    return [ordered[start : start + workers] for start in range(0, len(ordered), workers)]


def train_rounds(config: dict[str, Any]) -> None:
    """A Ray Train worker: `config` holds the plan and the schedule of rounds; worker r trains job r of each round."""
    import ray.train
    from ray.train import Checkpoint
    from ray.train.collective import barrier

    spare_the_collector()
    plan: SourcePlan = config["plan"]
    schedule: list[list[TrainingJob]] = config["schedule"]
    held: dict[str, Any] = {}
    rank = ray.train.get_context().get_world_rank()
    first = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            first = json.loads((Path(folder) / "next_round.json").read_text())
    begun_before = first < len(schedule) and any(attempts_path(plan, job).exists() for job in schedule[first])
    barrier()  # all have looked before any begins
    for number in range(first, len(schedule)):
        jobs = schedule[number]
        losses: dict[int, float] = {}
        if begun_before and number == first:
            for turn, job in enumerate(jobs):
                losses = train_job(plan, job, held) if turn == rank else losses
                barrier()
        elif rank < len(jobs):
            losses = train_job(plan, jobs[rank], held)
        name = jobs[rank].name if rank < len(jobs) else ""
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "next_round.json", number + 1)
            write_json(Path(folder) / f"worker_{rank}.json", {"job": name, "final_losses": losses})
            ray.train.report({"round": number, "job": name}, checkpoint=Checkpoint.from_directory(folder))


def train_job(plan: SourcePlan, job: TrainingJob, held: dict[str, Any]) -> dict[int, float]:
    """Do a job; returns last losses, none of a job that failed. What goes wrong is written down and stops no other."""
    attempts = attempts_path(plan, job)
    begun = int((read_json(attempts) or {}).get("begun", 0))
    if begun >= ATTEMPTS:
        reason = f"its worker died {begun} times (out of memory?)"
        write_json(failure_path(plan, job), {"reason": reason})
        return {}
    write_json(attempts, {"begun": begun + 1})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            losses = job.train(plan, held)
        except Exception as error:
            seen = [str(warning.message) for warning in caught[:3]]
            write_json(failure_path(plan, job), {"reason": "; ".join([f"{type(error).__name__}: {error}", *seen])})
            losses = {}
    attempts.unlink()
    return losses


def failure_path(plan: SourcePlan, job: TrainingJob) -> Path:
    """Why a job could not be done."""
    return job.folder(plan) / "failure.json"


def attempts_path(plan: SourcePlan, job: TrainingJob) -> Path:
    """How often a job has begun without an end."""
    return job.folder(plan) / "attempts.json"
