"""Networks that learning curves and `--pan-cancer` need: pan-cancer networks, trained by Ray Train, and source models.

Pan-cancer networks are trained on the cohorts that may lend to a target, so no patient of the target is among those
that train them. Several targets may be left out together: fewer networks to train, on fewer cohorts. Beside them lie
the vectors of the patients that they have not seen, and done means: all of it is today's.
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
from cropkt.experiments.sources.driver import train_jobs
from cropkt.files import atomic_path
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import MILModel
from cropkt.rivals.pan_cancer import PanCancerNetworks, networks_for, unseen_patients
from cropkt.training.pan_cancer_models import PanCancerPlan, ThinnedCohort, load_pan_cancer, train_networks
from cropkt.training.sources import SourcePlan


@dataclass(frozen=True)
class PanCancerJob:
    """The networks that leave out some targets, as work of a Ray Train worker (sources/worker.TrainingJob)."""

    wanted: PanCancerPlan

    @property
    def name(self) -> str:
        """For people."""
        return f"pan-cancer networks without {', '.join(self.wanted.left_out)}"

    @property
    def size(self) -> int:
        """Work to do, in patients."""
        return sum(len(cohort.labels) for cohort in self.wanted.lenders)

    def done(self, plan: SourcePlan) -> bool:  # noqa: ARG002
        """Whether networks and vectors are there, whole and today's."""
        return self.wanted.done and self._facts() is not None

    def folder(self, plan: SourcePlan) -> Path:  # noqa: ARG002
        """Where the networks lie."""
        return self.wanted.folder

    def parts(self, plan: SourcePlan) -> list[Path]:  # noqa: ARG002
        """What is there when the work is done: the vectors, which come last."""
        return [self._vectors]

    def train(self, plan: SourcePlan, held: dict[str, Any]) -> dict[int, float]:  # noqa: ARG002
        """Train and store; returns the last loss of each network. `held` keeps the thinned cohorts that were read."""
        cohorts: dict[str, ThinnedCohort] = held.setdefault("thinned", {})
        pool, trained = train_networks(self.wanted, cohorts)
        codes = [cohort.code for cohort in self.wanted.lenders]
        self.store_vectors(unseen_patients(pool, codes, [fold.model for fold in trained]))
        return {fold.fold: fold.losses[-1] for fold in trained}

    def load(self, bags: Bags) -> PanCancerNetworks:
        """The stored networks, and what they say of the target's `bags`. Raises KeyError when they are not done."""
        facts = self._facts()
        if facts is None or not self.wanted.done:
            raise KeyError(f"{self.wanted.folder}: no pan-cancer networks of today's cohorts and settings")
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
        return networks_for(load_pan_cancer(self.wanted.plan, self.wanted.left_out).models, unseen, bags)

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
        facts = json.dumps({"fingerprint": self.wanted.fingerprint, "cohorts": names})
        with atomic_path(self._vectors) as temporary:
            save_file(arrays, temporary, metadata={"borrowing": facts})

    @property
    def _vectors(self) -> Path:
        return self.wanted.folder / "unseen.safetensors"

    def _facts(self) -> dict[str, Any] | None:
        try:
            with safe_open(self._vectors, framework="numpy") as stream:
                facts: dict[str, Any] = json.loads((stream.metadata() or {})["borrowing"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return facts if facts["fingerprint"] == self.wanted.fingerprint else None


def left_out_together(targets: Sequence[str], size: int) -> dict[str, tuple[str, ...]]:
    """By target, the targets that its networks leave out: groups of at most `size`, in the order of `targets`."""
    groups = [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]
    return {target: group for group in groups for target in group}


def train_missing_networks(
    run: Run, groups: Sequence[tuple[str, ...]], cluster: Cluster, scratch: Path
) -> dict[tuple[str, ...], str]:
    """Train, with Ray Train, the pan-cancer networks that are missing of `groups` of targets; those that failed, with
    the reason. `scratch` is a folder that every node sees."""
    jobs = {group: PanCancerJob(run.pan_cancer(*group)) for group in groups}
    keep = run.config.resume
    todo = [job for job in jobs.values() if not (keep and job.done(run.plan)) or job.wanted.lacks_slides]
    for path in (path for job in todo for path in job.parts(run.plan)):
        path.unlink(missing_ok=True)
    failed = train_jobs(run.plan, todo, cluster, scratch, title="pan-cancer networks", unit="left-out groups")
    return {group: failed[job.name] for group, job in jobs.items() if job.name in failed}


def source_models_of(run: Run, codes: Sequence[str]) -> dict[str, MILModel]:
    """The source model of the run's first fold, for each of the cohorts `codes`."""
    plan = run.plan
    return {code: load_model(plan.model_path(code, run.folds[0]), device=plan.device) for code in codes}
