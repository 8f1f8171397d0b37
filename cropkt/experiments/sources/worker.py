"""What runs inside Ray Train: the workers go through rounds of cohorts and report a checkpoint after each.

When a worker dies, Ray restarts all of them and they go on with the round after the last checkpoint. That round's
cohorts are then trained one at a time, so that the one that kills its worker shows: after ATTEMPTS it is written down
as failed, and the others go on without it.
"""

import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropkt.data.study import Cohort
from cropkt.experiments.cluster import spare_the_collector
from cropkt.files import read_json, write_json
from cropkt.training.sources import SourcePlan, missing_folds, train_cohort

ATTEMPTS = 3
"""How often a cohort whose worker dies is begun."""


@dataclass(frozen=True)
class CohortJob:
    """The folds of one cohort to train."""

    cohort: Cohort
    folds: tuple[int, ...]

    @property
    def size(self) -> int:
        """Work to do, in patches."""
        return int(self.cohort.slides["patches"].sum()) * len(self.folds)


def rounds(jobs: Sequence[CohortJob], workers: int) -> list[list[CohortJob]]:
    """Jobs in rounds of at most `workers`, the largest first: jobs of a round are about equally long, and all waiting
    at the ends of rounds adds up to less than the largest job."""
    ordered = sorted(jobs, key=lambda job: (-job.size, job.cohort.code))
    return [ordered[start : start + workers] for start in range(0, len(ordered), workers)]


def train_rounds(config: dict[str, Any]) -> None:
    """A Ray Train worker: `config` holds the plan and the schedule of rounds; worker r trains job r of each round."""
    import ray.train
    from ray.train import Checkpoint
    from ray.train.collective import barrier

    spare_the_collector()
    plan: SourcePlan = config["plan"]
    schedule: list[list[CohortJob]] = config["schedule"]
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
                losses = train_job(plan, job) if turn == rank else losses
                barrier()
        elif rank < len(jobs):
            losses = train_job(plan, jobs[rank])
        cohort = jobs[rank].cohort.code if rank < len(jobs) else ""
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / "next_round.json", number + 1)
            write_json(Path(folder) / f"worker_{rank}.json", {"cohort": cohort, "final_losses": losses})
            ray.train.report({"round": number, "cohort": cohort}, checkpoint=Checkpoint.from_directory(folder))


def train_job(plan: SourcePlan, job: CohortJob) -> dict[int, float]:
    """Train a cohort's missing folds; returns their last losses. What goes wrong is written down and stops no other."""
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
            cards = train_cohort(plan, job.cohort, missing_folds(plan, job.cohort, job.folds))
        except Exception as error:
            seen = [str(warning.message) for warning in caught[:3]]
            write_json(failure_path(plan, job), {"reason": "; ".join([f"{type(error).__name__}: {error}", *seen])})
            cards = []
    attempts.unlink()
    return {card.fold: card.losses[-1] for card in cards}


def failure_path(plan: SourcePlan, job: CohortJob) -> Path:
    """Why a cohort could not be trained."""
    return plan.folder / job.cohort.code / "failure.json"


def attempts_path(plan: SourcePlan, job: CohortJob) -> Path:
    """How often the training of a cohort has begun without an end."""
    return plan.folder / job.cohort.code / "attempts.json"
