"""Networks that learning curves need: pan-cancer networks, a Tune trial for each left-out target, and source models.

Pan-cancer networks are trained on the cohorts that may lend to a target, so no patient of the target is among those
that train them. Several targets may be left out together: fewer networks to train, on fewer cohorts. They are stored
with the vectors of the patients that they have not seen, and done means: the stored fingerprint is today's.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cropkt.borrowing.lenders import CohortPatients
from cropkt.data.bags import Bags, read_bags
from cropkt.experiments.borrowing.means import lender_codes
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run
from cropkt.experiments.tune import Trial, run_trials
from cropkt.files import atomic_path, digest
from cropkt.models.checkpoint import load_model, save_model
from cropkt.models.mil import MILModel
from cropkt.models.precision import torch_dtype
from cropkt.rivals.pan_cancer import PanCancerNetworks, networks_for, unseen_patients
from cropkt.training.pan_cancer import (
    MOST_PATCHES,
    PAN_CANCER_VERSION,
    PARTS,
    SETTINGS,
    pool_bags,
    thin,
    train_pan_cancer,
)


@dataclass(frozen=True)
class StoredNetworks:
    """Where the pan-cancer networks that leave out some targets are kept, and which lenders train them."""

    run: Run
    left_out: tuple[str, ...]

    @property
    def lenders(self) -> list[str]:
        """The cohorts that train them: those that may lend to every target that is left out."""
        run = self.run
        allowed = [set(lender_codes(run.cohorts, target, run.sources)) for target in self.left_out]
        return [code for code in run.sources if all(code in codes for codes in allowed)]

    @property
    def folder(self) -> Path:
        """Where they lie."""
        results = self.run.results
        name = "without-" + "-".join(self.left_out)
        return results.out / "borrowing" / results.encoder / "pan_cancer" / results.architecture / name

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything changes that decides what they learn."""
        plan, settings = self.run.plan, (MOST_PATCHES, PARTS, asdict(SETTINGS))
        cohorts = [self.run.cohorts[code].fingerprint for code in self.lenders]
        return digest(PAN_CANCER_VERSION, cohorts, settings, asdict(plan.architecture), plan.seed, plan.precision)

    @property
    def done(self) -> bool:
        """Whether they are there, whole and today's."""
        return self._facts() is not None

    def store(self, networks: Sequence[MILModel], unseen: Sequence[Sequence[CohortPatients]]) -> None:
        """Write the networks and, last, the vectors, which say that all is there."""
        for number, network in enumerate(networks):
            save_model(self._weights(number), network, {"kind": "pan-cancer network", "fingerprint": self.fingerprint})
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
        facts = json.dumps({"fingerprint": self.fingerprint, "cohorts": names})
        with atomic_path(self._vectors) as temporary:
            save_file(arrays, temporary, metadata={"borrowing": facts})

    def load(self, bags: Bags) -> PanCancerNetworks:
        """The stored networks, and what they say of the target's `bags`. Raises KeyError when they are not done."""
        facts = self._facts()
        if facts is None:
            raise KeyError(f"{self.folder}: no pan-cancer networks of today's cohorts and settings")
        networks = [load_model(self._weights(n), device=self.run.plan.device) for n in range(len(facts["cohorts"]))]
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
        return networks_for(networks, unseen, bags)

    @property
    def _vectors(self) -> Path:
        return self.folder / "unseen.safetensors"

    def _weights(self, number: int) -> Path:
        return self.folder / f"network_{number}.safetensors"

    def _facts(self) -> dict[str, Any] | None:
        try:
            with safe_open(self._vectors, framework="numpy") as stream:
                facts: dict[str, Any] = json.loads((stream.metadata() or {})["borrowing"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        return facts if facts["fingerprint"] == self.fingerprint else None


class PanCancerTrial(Trial):
    """A trial trains the networks that leave out the targets `point`; `job` is the run. What is read is kept."""

    job: Run
    point: tuple[str, ...]

    def start(self) -> None:
        """No cohort is read yet."""
        self._held: dict[str, tuple[str, Bags, np.ndarray, np.ndarray]] = {}

    def step(self) -> dict[str, Any]:
        """Train and store; a target whose networks cannot be trained stops no other."""
        try:
            self._train()
        except Exception as error:
            return {"done": True, "failed": f"{type(error).__name__}: {error}"}
        return {"done": True, "failed": ""}

    def _train(self) -> None:
        stored, plan = StoredNetworks(self.job, self.point), self.job.plan
        pool = pool_bags([self._cohort(code) for code in stored.lenders], seed=plan.seed)
        networks = train_pan_cancer(pool, plan.architecture, seed=plan.seed, precision=plan.precision)
        stored.store(networks, unseen_patients(pool, stored.lenders, networks))

    def _cohort(self, code: str) -> tuple[str, Bags, np.ndarray, np.ndarray]:
        if code not in self._held:
            plan, cohort = self.job.plan, self.job.cohorts[code]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # slides left out are the study's to tell
                bags = thin(read_bags(cohort, dtype=torch_dtype(plan.precision), strict=plan.strict), seed=plan.seed)
            rows = cohort.labels.loc[list(bags.patients)]
            time, event = rows["time"].to_numpy(dtype=np.float64), rows["event"].to_numpy(dtype=np.int64)
            self._held[code] = (code, bags.to(plan.device), time, event)
        return self._held[code]


def left_out_together(targets: Sequence[str], size: int) -> dict[str, tuple[str, ...]]:
    """By target, the targets that its networks leave out: groups of at most `size`, in the order of `targets`."""
    groups = [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]
    return {target: group for group in groups for target in group}


def train_missing_networks(
    run: Run, groups: Sequence[tuple[str, ...]], cluster: Cluster, scratch: Path
) -> dict[str, str]:
    """Train the pan-cancer networks that are missing of `groups` of targets; those that failed, with the reason."""
    todo = [group for group in groups if not StoredNetworks(run, group).done]
    failed: dict[str, str] = {}
    if not todo:
        return failed
    with stage("pan-cancer networks", len(todo), "left-out groups") as line:

        def on_end(group: tuple[str, ...], result: Mapping[str, Any], died: str) -> None:
            name = f"pan-cancer networks without {', '.join(group)}"
            if reason := died or result.get("failed", ""):
                failed[name] = reason
            line.advance(name)

        run_trials(PanCancerTrial, run, todo, cluster.workers(len(todo)), scratch, on_end=on_end)
    return failed


def source_models_of(run: Run, codes: Sequence[str]) -> dict[str, MILModel]:
    """The source model of the run's first fold, for each of the cohorts `codes`."""
    plan = run.plan
    return {code: load_model(plan.model_path(code, run.folds[0]), device=plan.device) for code in codes}
