"""Routers for target cohorts: sources and pairs where they are missing, searches, final fits, tables, pictures, log."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Workers, lay_out, ray_session
from cropkt.experiments.command import SOME_FAILED
from cropkt.experiments.prepare import Selection, select
from cropkt.experiments.routing_run import RoutingOutcome, RoutingRun, routing_settings
from cropkt.experiments.search_space import SearchSpace, read_space
from cropkt.experiments.sweep import sweep_if_needed
from cropkt.experiments.workspace import workspace
from cropkt.files import atomic_path, digest
from cropkt.training.sources import SourcePlan
from cropkt.transfer.results import read_json, read_record
from cropkt.transfer.routing_results import (
    chosen_sources,
    expert_sources,
    forget_fold,
    method_table,
    read_gates,
)

if TYPE_CHECKING:
    from cropkt.experiments.routing_trial import RoutingJob


def tune_router(run: RoutingRun) -> int:
    """Tune, fit and compare a router for each target; returns the exit code.

    Writes routing.parquet, gates.parquet and routing/ under the results folder, and logs to MLflow.
    """
    from cropkt.experiments.routing_log import conclude, print_table

    spaces = {kind: read_space(kind, run.spaces.get(kind)) for kind in run.tune} if run.trials else {}
    selection = select(run.config)
    sources = _check(run, selection)
    for warning in selection.study.warnings:
        print(f"warning: {warning}")
    with workspace(selection.results) as scratch, ray_session():
        everyone = replace(selection, sources=sources)
        plan, swept = sweep_if_needed(replace(run.config, resume=True), everyone, scratch)
        outcome = _route(run, selection, plan, spaces, scratch)
        print_table(outcome.methods)
        conclude(run, selection, outcome, spaces)
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}; the same command tries it again")
    print(f"results: {selection.results.out}")
    return SOME_FAILED if outcome.failed else swept


def _check(run: RoutingRun, selection: Selection) -> tuple[str, ...]:
    """Whose models are needed: the sources' and, because their own models are experts too, the targets'."""
    if missing := [fold for fold in run.source_folds if fold not in selection.folds]:
        known = ", ".join(map(str, selection.folds))
        raise ConfigError(f"--source-folds names fold {missing[0]}, but --folds has {known}")
    for target in selection.targets:
        folds = len(selection.study.cohorts[target].folds)
        if len(selection.folds) < folds:
            raise ConfigError(f"--folds: a router for {target} needs its own models of all {folds} folds")
    return tuple(code for code in selection.study.cohorts if code in {*selection.sources, *selection.targets})


def _route(
    run: RoutingRun, selection: Selection, plan: SourcePlan, spaces: Mapping[str, SearchSpace], scratch: Path
) -> RoutingOutcome:
    from cropkt.experiments.routing_trial import RoutingJob, unit_order
    from cropkt.experiments.search import best_trial, run_searches

    cohorts, results = selection.study.cohorts, selection.results

    def measured(source: str, target: str) -> bool:
        record = read_record(results, source, target)
        return record is not None and not record["pair"]["status"].startswith("failed")

    experts: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    for target in selection.targets:
        wanted = expert_sources(cohorts, target, selection.sources)
        if run.config.protocol == "paper":
            wanted = sorted(wanted)  # the release's order, which its GRU depends on
        experts[target] = tuple(source for source in wanted if measured(source, target))
        for source in wanted:
            if not measured(source, target):
                failed[f"{source} on {target}"] = "the pair could not be measured, and is no expert"
        if not measured(target, target):
            failed[target] = "its own models could not be measured"
        elif not experts[target]:
            failed[target] = "there is no other source"
    job = RoutingJob(results, plan, selection.folds, dict(cohorts), experts, routing_settings(run, selection))
    targets = tuple(target for target in selection.targets if target not in failed)
    units = list(unit_order(job, targets))

    def workers(jobs: int) -> Workers:
        return lay_out(run.config, plan.device, jobs)

    searches = run_searches(
        job,
        [(kind, *unit) for target in targets for kind in spaces for unit in units if unit[0] == target],
        spaces,
        trials=run.trials,
        timeout=run.timeout,
        resume=run.config.resume,
        scratch=scratch / "search",
        lay_out=workers,
    )
    trials = {unit: search.trials[: run.trials] for unit, search in searches.items()}
    chosen: dict[tuple[str, int], dict[str, dict[str, Any]]] = {unit: {} for unit in units}
    for (kind, target, fold), tried in trials.items():
        best = best_trial(tried)
        # Every fold is fitted with every method: one that no search got to has the default settings.
        chosen[target, fold][kind] = best["values"] if best is not None else {}
        if best is None and tried:
            failed[f"search for a {kind}, {target}, fold {fold}"] = tried[0]["failed"] or "no trial was completed"
    failed |= _fit(run, job, chosen, scratch / "fit", workers)
    methods, gates = _tables(job, targets)
    return RoutingOutcome(job, targets, methods, gates, trials, failed)


def _fit(
    run: RoutingRun,
    job: "RoutingJob",
    chosen: Mapping[tuple[str, int], Mapping[str, Mapping[str, Any]]],
    scratch: Path,
    workers: Any,
) -> dict[str, str]:
    """The final fits that are not done; returns those that failed, with the reason."""
    from ray import tune

    from cropkt.experiments.progress import stage
    from cropkt.experiments.routing_trial import FitTrial, FitWatch
    from cropkt.experiments.trial import InOrder

    todo = []
    best = {
        target: chosen_sources(job.results, job.cohorts[target], job.sources[target])
        for target in dict.fromkeys(target for target, _ in chosen)
    }
    for (target, fold), values in chosen.items():
        source = best[target][fold] if best[target] else None
        unit = {"target": target, "fold": fold, "chosen": dict(values), "source": source}
        unit["fingerprint"] = digest(job.fingerprint(target), values, source)
        record = read_json(job.folder(target).record_path(fold)) if run.config.resume else None
        if record is None or record["fingerprint"] != unit["fingerprint"]:
            forget_fold(job.folder(target), fold)
            todo.append(unit)
    if not todo:
        return {}
    layout = workers(len(todo))
    with stage("final fits", len(todo), "folds") as line:
        watch = FitWatch(line)
        tune.Tuner(
            tune.with_resources(tune.with_parameters(FitTrial, job=job), layout.resources),
            param_space={"unit": tune.grid_search(todo)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=layout.count, scheduler=InOrder()),
            run_config=tune.RunConfig(
                name="fit",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        ).fit()
    return watch.failed


def _tables(job: "RoutingJob", targets: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The methods' table and the gates of `targets`; and OUT/routing.parquet and gates.parquet, which keep the rows of
    other targets."""
    methods, gates = [], []
    for target in targets:
        folder, cohort = job.folder(target), job.cohorts[target]
        methods.append(method_table(folder, cohort, job.sources[target]))
        gates.append(read_gates(folder, len(cohort.folds)).assign(target=target, **_identity(job)))
    found = []
    for name, parts in (("routing", methods), ("gates", gates)):
        path = job.results.out / f"{name}.parquet"
        parts = [part for part in parts if len(part)]
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["target", "method"])
        found.append(table)
        if path.exists():
            known = pd.read_parquet(path)
            ours = (known["encoder"] == job.results.encoder) & (known["architecture"] == job.results.architecture)
            parts = [part for part in (known[~(ours & known["target"].isin(targets))], *parts) if len(part)]
        if parts:
            with atomic_path(path) as temporary:
                pd.concat(parts, ignore_index=True).to_parquet(temporary, index=False)
    return found[0], found[1]


def _identity(job: "RoutingJob") -> dict[str, str]:
    return {"encoder": job.results.encoder, "architecture": job.results.architecture}
