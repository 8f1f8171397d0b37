"""Pan-cancer networks as work of Ray Train: for `cropkt sweep --pan-cancer` and for learning curves.

They are trained on the cohorts that may lend to a target, so no patient of the target is among those that train them.
Beside them lie the vectors of the patients that they have not seen, and done means: all of it is today's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cropkt.borrowing.lenders import CohortPatients
from cropkt.data.bags import Bags
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.run import Run
from cropkt.experiments.sources.trainer import train_jobs
from cropkt.files import atomic_path
from cropkt.rivals.pan_cancer import PanCancerNetworks, networks_for, unseen_patients
from cropkt.training.pan_cancer_models import PanCancerPlan, ThinnedCohort, load_pan_cancer, train_networks
from cropkt.training.sources import SourcePlan


@dataclass(frozen=True)
class PanCancerJob:
    """The networks that leave out some targets, as work of a Ray Train worker (sources/worker.TrainingJob)."""

    networks: PanCancerPlan

    @property
    def name(self) -> str:
        """For people."""
        return f"pan-cancer networks without {', '.join(self.networks.left_out)}"

    @property
    def size(self) -> int:
        """Work to do, in patients."""
        return sum(len(cohort.labels) for cohort in self.networks.lenders)

    def done(self, plan: SourcePlan) -> bool:  # noqa: ARG002
        """Whether networks and vectors are there, whole and today's."""
        return self.networks.done and self._facts() is not None

    def folder(self, plan: SourcePlan) -> Path:  # noqa: ARG002
        """Where the networks lie."""
        return self.networks.folder

    def parts(self, plan: SourcePlan) -> list[Path]:  # noqa: ARG002
        """What is there when the work is done: the vectors, which come last."""
        return [self._vectors]

    def train(self, plan: SourcePlan, held: dict[str, Any]) -> dict[int, float]:  # noqa: ARG002
        """Train and store; returns the last loss of each network. `held` keeps the thinned cohorts that were read."""
        cohorts: dict[str, ThinnedCohort | None] = held.setdefault("thinned", {})
        pool, codes, trained = train_networks(self.networks, cohorts)
        self.store_vectors(unseen_patients(pool, codes, [fold.model for fold in trained]))
        return {fold.fold: fold.losses[-1] for fold in trained}

    def load(self, bags: Bags) -> PanCancerNetworks:
        """The stored networks, and what they say of the target's `bags`. Raises KeyError when they are not done."""
        facts = self._facts()
        if facts is None or not self.networks.done:
            raise KeyError(f"{self.networks.folder}: no pan-cancer networks of today's cohorts and settings")
        with safe_open(self._vectors, framework="numpy") as stream:
            unseen = [
                [
                    CohortPatients(
                        code,
                        stream.get_tensor(f"{number}/{code}/vectors").astype(np.float64),
                        stream.get_tensor(f"{number}/{code}/time"),
                        stream.get_tensor(f"{number}/{code}/event"),
                    )
                    for code in codes
                ]
                for number, codes in enumerate(facts["cohorts"])
            ]
        return networks_for(load_pan_cancer(self.networks.sources, self.networks.weights).models, unseen, bags)

    def store_vectors(self, unseen: Sequence[Sequence[CohortPatients]]) -> None:
        """Write the vectors of the patients that each network has not seen, which say that all is there."""
        arrays = {
            f"{number}/{cohort.cohort}/{name}": np.ascontiguousarray(values)
            for number, cohorts in enumerate(unseen)
            for cohort in cohorts
            for name, values in (
                ("vectors", cohort.features.astype(np.float32)),
                ("time", cohort.time),
                ("event", cohort.event),
            )
        }
        names = [[cohort.cohort for cohort in cohorts] for cohorts in unseen]
        facts = json.dumps({"fingerprint": self.networks.fingerprint, "cohorts": names})
        with atomic_path(self._vectors) as temporary:
            save_file(arrays, temporary, metadata={"borrowing": facts})

    @property
    def _vectors(self) -> Path:
        return self.networks.folder / "unseen.safetensors"

    def _facts(self) -> dict[str, Any] | None:
        try:
            with safe_open(self._vectors, framework="numpy") as stream:
                facts: dict[str, Any] = json.loads((stream.metadata() or {})["borrowing"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return facts if facts["fingerprint"] == self.networks.fingerprint else None


def train_pan_cancer_networks(run: Run, cluster: Cluster, scratch: Path) -> dict[str, str]:
    """Train the run's pan-cancer networks that are missing, by every cohort of the study that may lend to a target;
    targets whose networks could not be trained, with the reason."""
    jobs = {target: PanCancerJob(run.pan_cancer(target)) for target in run.targets}
    failed = train_missing_networks(run, list(jobs.values()), cluster, scratch)
    return {target: failed[job.name] for target, job in jobs.items() if job.name in failed}


def train_missing_networks(run: Run, jobs: Sequence[PanCancerJob], cluster: Cluster, scratch: Path) -> dict[str, str]:
    """Train, with Ray Train, those of `jobs` that are missing; those that failed, by name, with the reason.

    A worker holds the patches of all lenders, thinned: where they are more than its part of --memory, fewer work.
    `scratch` is a folder that every node sees.
    """
    keep, plan = run.config.resume, run.plan
    todo = [job for job in jobs if not (keep and job.done(plan)) or job.networks.lacks_slides]
    for path in (path for job in todo for path in job.parts(plan)):
        path.unlink(missing_ok=True)
    largest = max((job.networks.bytes_held for job in todo), default=0)
    failed = train_jobs(
        plan, todo, cluster, scratch, title="pan-cancer networks", unit="left-out groups", bytes_each=largest
    )
    for job in todo:
        if unreadable := job.networks.unreadable:
            print(f"warning: {job.name}: trained without {', '.join(unreadable)}, none of whose slides can be used")
    return failed
