"""Routers for target cohorts: sources and pairs where they are missing, searches, final fits, tables, pictures, log."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Workers, lay_out, ray_session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.prepare import Selection, select
from cropkt.experiments.routing_run import RoutingOutcome, RoutingRun, routing_settings
from cropkt.experiments.search_space import SearchSpace, read_space
from cropkt.experiments.sweep import sweep_if_needed
from cropkt.experiments.workspace import workspace
from cropkt.files import atomic_path, digest
from cropkt.training.sources import SourcePlan
from cropkt.transfer.results import read_json, read_record
from cropkt.transfer.routing_results import (
    chosen_source,
    expert_sources,
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
    selection = _select(run)
    for warning in selection.study.warnings:
        print(f"warning: {warning}")
    with workspace(selection.results) as scratch, ray_session():
        plan = sweep_if_needed(replace(run.config, resume=True), selection, scratch)
        outcome = _route(run, selection, plan, spaces, scratch)
        conclude(run, selection, outcome, spaces)
    print_table(outcome.methods)
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}; the same command tries it again")
    print(f"results: {selection.results.out}")
    return SOME_FAILED if outcome.failed else DONE


def _select(run: RoutingRun) -> Selection:
    """The selected sources, with the targets among them: their own models are experts, too."""
    selection = select(run.config)
    sources = {*selection.sources, *selection.targets}
    selection = replace(selection, sources=tuple(code for code in selection.study.cohorts if code in sources))
    if missing := [fold for fold in run.source_folds if fold not in selection.folds]:
        raise ConfigError(
            f"--source-folds names fold {missing[0]}, but --folds has {', '.join(map(str, selection.folds))}"
        )
    for target in selection.targets:
        folds = len(selection.study.cohorts[target].folds)
        if len(selection.folds) < folds:
            raise ConfigError(f"--folds: a router for {target} needs its own models of all {folds} folds")
    return selection


def _route(
    run: RoutingRun, selection: Selection, plan: SourcePlan, spaces: Mapping[str, SearchSpace], scratch: Path
) -> RoutingOutcome:
    from cropkt.experiments.routing_trial import RoutingJob, unit_order
    from cropkt.experiments.search import best_trial, run_searches

    cohorts, results = selection.study.cohorts, selection.results

    def measured(source: str, target: str) -> bool:
        record = read_record(results, source, target)
        return record is not None and not record["pair"]["status"].startswith("failed")

    job = RoutingJob(
        results,
        plan,
        selection.folds,
        dict(cohorts),
        {
            target: tuple(
                source for source in expert_sources(cohorts, target, selection.sources) if measured(source, target)
            )
            for target in selection.targets
        },
        routing_settings(run, selection),
    )
    failed = {
        target: "its own models could not be measured" if not measured(target, target) else "there is no other source"
        for target in selection.targets
        if not measured(target, target) or not job.sources[target]
    }
    targets = tuple(target for target in selection.targets if target not in failed)
    units = list(unit_order(job, targets))

    def workers(jobs: int) -> Workers:
        return lay_out(run.config, plan.device, jobs)

    searches = run_searches(
        job,
        [(kind, *unit) for kind in spaces for unit in units],
        spaces,
        trials=run.trials,
        timeout=run.timeout,
        resume=run.config.resume,
        scratch=scratch / "search",
        lay_out=workers,
    )
    chosen: dict[tuple[str, int], dict[str, dict[str, Any]]] = {unit: {} for unit in units}
    for (kind, target, fold), search in searches.items():
        if (best := best_trial(search.trials)) is not None:
            chosen[target, fold][kind] = best["values"]
        elif search.trials:
            print(f"warning: {target}, fold {fold}: no {kind} could be trained: {search.trials[0]['failed']}")
    failed |= _fit(run, job, chosen, scratch / "fit", workers)
    return RoutingOutcome(job, targets, *_tables(job, targets, selection.sources), searches=searches, failed=failed)


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

    todo = []
    for (target, fold), values in chosen.items():
        experts = [target, *job.sources[target]]
        source = chosen_source(job.results, target, fold, experts)
        fingerprint = digest(job.fingerprint(target), values, source)
        record = read_json(job.folder(target).record_path(fold)) if run.config.resume else None
        if record is None or record["fingerprint"] != fingerprint:
            job.folder(target).record_path(fold).unlink(missing_ok=True)
            todo.append({"target": target, "fold": fold, "chosen": dict(values), "fingerprint": fingerprint})
    if not todo:
        return {}
    layout = workers(len(todo))
    resources = {"CPU": layout.cpus} | ({"GPU": layout.gpus} if layout.gpus else {})
    with stage("final fits", len(todo), "folds") as line:
        watch = FitWatch(line)
        tune.Tuner(
            tune.with_resources(tune.with_parameters(FitTrial, job=job), resources),
            param_space={"unit": tune.grid_search(todo)},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=layout.count),
            run_config=tune.RunConfig(
                name="fit",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=1),
            ),
        ).fit()
    return watch.failed


def _tables(job: "RoutingJob", targets: Sequence[str], sources: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The methods' table and the gates of `targets`; and OUT/routing.parquet and gates.parquet, which keep the rows of
    other targets."""
    methods, gates = [], []
    for target in targets:
        folder = job.folder(target)
        methods.append(method_table(folder, job.cohorts[target], sources))
        gates.append(read_gates(folder).assign(target=target, **_identity(job)))
    if not targets:
        return pd.DataFrame(columns=["target", "method"]), pd.DataFrame()
    tables = (pd.concat(methods, ignore_index=True), pd.concat(gates, ignore_index=True))
    for name, table in zip(("routing", "gates"), tables, strict=True):
        path = job.results.out / f"{name}.parquet"
        keys = ["target", "encoder", "architecture"]
        known = pd.read_parquet(path) if path.exists() else table.iloc[:0]
        others = (
            known[~known[keys].apply(tuple, axis=1).isin(table[keys].apply(tuple, axis=1))] if len(known) else known
        )
        with atomic_path(path) as temporary:
            (pd.concat([others, table], ignore_index=True) if len(others) else table).to_parquet(temporary, index=False)
    return tables


def _identity(job: "RoutingJob") -> dict[str, str]:
    return {"encoder": job.results.encoder, "architecture": job.results.architecture}
