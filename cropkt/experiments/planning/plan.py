"""The plan of a sweep: how much there is to train, measure, read and write, and about how long it takes here."""

import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from joblib import cpu_count  # type: ignore[import-untyped]

from cropkt.data.streams.stream import resident_bytes
from cropkt.data.study import Cohort
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.planning.benchmark import Speed, measure_speed
from cropkt.experiments.run import Run, not_held
from cropkt.models.checkpoint import build_null_model
from cropkt.models.precision import torch_dtype
from cropkt.training.config import PAN_CANCER
from cropkt.training.pan_cancer import PARTS, SETTINGS
from cropkt.training.pan_cancer_models import PanCancerPlan, kept_patches
from cropkt.training.sources import missing_folds

GB = 1e9
RAY_SECONDS_A_PAIR = 0.03
"""20 s for 676 trials on two cores, with processes reused."""
RAY_START_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what it does, and about how many minutes it takes."""

    name: str
    work: str
    minutes: float


@dataclass(frozen=True)
class RunPlan:
    """What a run would do. GB are 1e9 bytes; `memory` is the largest worker's, `memory_at` the cohort it then works on.

    mapped: the cohorts that do not fit in a worker's part of --memory, and are trained from a copy on the disk.
    """

    models: int
    models_there: int
    pairs: int
    baselines: int
    workers: int
    read: float
    written: float
    memory: float
    memory_at: str
    mapped: tuple[str, ...]
    stages: tuple[Stage, ...]
    device: str
    precision: str


def plan_run(run: Run, cluster: Cluster) -> RunPlan:
    """The plan of sweeping `run` from its start, with models that are there already kept; benchmarks this machine."""
    missing = {code: missing_folds(run.plan, run.cohorts[code], run.folds) for code in run.sources}
    to_train = [code for code, folds in missing.items() if folds]
    trained = sum(_training_patches(run, code, missing[code]) for code in to_train)
    scored = sum(_patches(run.cohorts[target]) for target in run.targets) * len(run.sources) * len(run.folds)
    baselines = len(run.targets) * len(run.baselines)
    pairs = len(run.sources) * len(run.targets)
    size = {code: _bytes(run.cohorts[code]) for code in {*to_train, *run.targets}}
    train_read, sweep_read = (sum(size[code] for code in codes) for codes in (to_train, run.targets))
    memory = {code: _memory(run, code) for code in size}
    if networks := _missing_networks(run):
        memory["pan-cancer networks"] = _process() + max(one.bytes_held for one in networks)
    largest = max(memory, key=lambda code: memory[code])
    speed = _speed(run)
    local = run.config.cluster.ray_address is None
    workers = (run.config.cluster.workers or cpu_count()) if local else cluster.workers(pairs).count
    models = sum(map(len, missing.values()))
    shared = workers if not local else 1  # the benchmark had all of this machine
    stages = (
        Stage(
            "train", f"{models} models", (train_read / speed.bytes_read + trained / speed.patches_trained / shared) / 60
        ),
        Stage(
            "measure",
            f"{pairs} pairs",
            (RAY_START_SECONDS + RAY_SECONDS_A_PAIR * (pairs + baselines)) / 60
            + (sweep_read / speed.bytes_read + scored / speed.patches_scored / shared) / 60,
        ),
        *_pan_cancer(run, speed, shared),
        *_repeats(run, speed, shared),
    )
    there = len(run.sources) * len(run.folds) - models
    plan = run.plan
    amounts = ((train_read + sweep_read) / GB, _written(run, models) / GB, memory[largest] / GB)
    mapped = tuple(not_held(run, to_train))
    return RunPlan(
        models, there, pairs, baselines, workers, *amounts, largest, mapped, stages, plan.device, plan.precision
    )


def _missing_networks(run: Run) -> list[PanCancerPlan]:
    wanted = [run.pan_cancer(target) for target in run.targets] if PAN_CANCER in run.baselines else []
    return [networks for networks in wanted if not networks.done]


def _pan_cancer(run: Run, speed: Speed, shared: int) -> list[Stage]:
    """What `--pan-cancer` adds: for each target, networks of the other cohorts, on thinned bags."""
    missing = _missing_networks(run)
    if not missing:
        return []
    kept = {code: kept_patches(cohort) for code, cohort in run.cohorts.items()}
    once = sum(kept[cohort.code] for networks in missing for cohort in networks.lenders)
    trained = once * SETTINGS.epochs * (PARTS - 1)  # each part trains all networks but one
    seconds = sum(_bytes(run.cohorts[code]) for code in run.sources) / speed.bytes_read
    seconds += trained / speed.patches_trained / shared
    return [Stage("pan-cancer", f"{PARTS * len(missing)} networks", seconds / 60)]


def _repeats(run: Run, speed: Speed, shared: int) -> list[Stage]:
    """What `--repeats` adds: models of each cohort's own patients, trained and measured once more per repeat."""
    repeats = [run.repeated(number) for number in range(1, run.config.repeats)]
    missing = [
        (repeat, code, folds)
        for repeat in repeats
        for code in repeat.sources
        if (folds := missing_folds(repeat.plan, repeat.cohorts[code], repeat.folds))
    ]
    if not missing:
        return []
    trained = sum(_training_patches(repeat, code, folds) for repeat, code, folds in missing)
    scored = sum(_patches(run.cohorts[code]) * len(folds) for _, code, folds in missing)
    read = 2 * sum(_bytes(run.cohorts[code]) for _, code, _ in missing)
    seconds = read / speed.bytes_read + (trained / speed.patches_trained + scored / speed.patches_scored) / shared
    return [Stage("repeats", f"{sum(len(folds) for *_, folds in missing)} models", seconds / 60)]


def _speed(run: Run) -> Speed:
    cohorts = [run.cohorts[code] for code in {*run.sources, *run.targets}]
    files: Sequence[str] = [path for cohort in cohorts for path in cohort.slides["path"]]
    patches = sum(int(cohort.slides["patches"].sum()) for cohort in cohorts)
    patients = sum(len(cohort.labels) for cohort in cohorts)
    return measure_speed(run.plan, files, patches / patients, len(run.folds))


def _patches(cohort: Cohort) -> int:
    return int(cohort.slides["patches"].sum())


def _training_patches(run: Run, code: str, folds: Sequence[int]) -> int:
    """Patches that the models of `folds` go over in all their epochs."""
    cohort = run.cohorts[code]
    of_patient = cohort.slides.groupby("patient_id")["patches"].sum()
    once = sum(int(of_patient.reindex(list(cohort.folds[fold].train)).sum()) for fold in folds)
    return once * run.plan.training.epochs


def _bytes(cohort: Cohort) -> int:
    return sum(os.stat(path).st_size for path in cohort.slides["path"] if os.path.isfile(path))


def _memory(run: Run, code: str) -> float:
    """Bytes a worker holds: the process as it is here, and the cohort's patches, as far as they may fill memory."""
    patches = resident_bytes(run.cohorts[code], torch_dtype(run.plan.precision))
    return _process() + (patches if run.plan.memory is None else min(patches, run.plan.memory))


def _process() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _written(run: Run, n_models: int) -> float:
    """Bytes of models, and of every patient's bag vectors, hazards and risks by every source model."""
    null = build_null_model(run.plan.architecture, run.plan.seed)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in null.parameters())
    patients = sum(len(run.cohorts[target].labels) for target in run.targets)
    numbers = run.plan.architecture.embedding + run.plan.architecture.intervals + 1
    return n_models * weights + 4.0 * patients * len(run.sources) * len(run.folds) * numbers


def told(planned: RunPlan) -> list[str]:
    """`planned` as a person reads it."""
    there = f", {planned.models_there} are there already" if planned.models_there else ""
    lines = [
        f"models     {planned.models} to train{there}",
        f"pairs      {planned.pairs}, and {planned.baselines} baselines",
        f"read       {planned.read:.2f} GB",
        f"written    {planned.written:.2f} GB at most",
        f"workers    {planned.workers} on {planned.device}, {planned.precision}",
        f"memory     {planned.memory:.1f} GB for the largest worker, while it works on {planned.memory_at}",
    ]
    if planned.mapped:
        lines.append(f"mapped     {', '.join(planned.mapped)}: larger than a worker's part of --memory")
    lines += [f"{stage.name:11s}{minutes(stage.minutes)}: {stage.work}" for stage in planned.stages]
    return [
        *lines,
        f"in all     {minutes(sum(stage.minutes for stage in planned.stages))}, by a benchmark of six seconds",
    ]


def minutes(count: float) -> str:
    """Minutes as they are told: seconds below one, hours above 120."""
    if count < 1:
        return f"{count * 60:.0f} s"
    return f"{count:.0f} min" if count <= 120 else f"{count / 60:.1f} h"
