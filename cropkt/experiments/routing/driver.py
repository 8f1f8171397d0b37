"""Routers for target cohorts: sources and pairs where they are missing, searches, final fits, tables, pictures, log."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cropkt.borrowing.lenders import lender_codes
from cropkt.borrowing.means import fold_splits, with_outcomes
from cropkt.errors import ConfigError, InputError
from cropkt.experiments.borrowing.means import CohortShelf, measure_missing_means
from cropkt.experiments.cluster import Cluster, session
from cropkt.experiments.command import SOME_FAILED
from cropkt.experiments.progress import stage
from cropkt.experiments.routing.config import RoutingConfig, SearchConfig
from cropkt.experiments.routing.job import FoldFit, RoutingJob, RoutingOutcome, TrialRecord, Unit, routing_settings
from cropkt.experiments.routing.space import SearchSpace, read_space
from cropkt.experiments.routing.vectors import VectorShelf
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.sweep.driver import sweep_if_needed
from cropkt.experiments.workspace import workspace
from cropkt.files import digest
from cropkt.routing.borrowed import borrowed_methods, borrowed_on_vectors
from cropkt.routing.recalibrated import store_calibration
from cropkt.routing.store import (
    RoutedFolds,
    chosen_sources,
    expert_sources,
    forget_fold,
    method_table,
    read_gates,
    write_routing,
)
from cropkt.simulation.truth import true_log_risk
from cropkt.transfer.columns import Table
from cropkt.transfer.rows import GATES, ROUTING, Status

Chosen = dict[tuple[str, int], dict[str, Mapping[str, Any]]]
"""Settings that searches have chosen: by target and outer fold, then by kind."""


def tune_router(config: RoutingConfig) -> int:
    """Tune, fit and compare a router for each target; returns the exit code.

    Writes routing.parquet, gates.parquet and routing/ under the results folder, and logs to MLflow.
    """
    from cropkt.experiments.routing.conclude import conclude, print_table

    search = config.search
    files = dict(search.spaces)
    spaces = {kind: read_space(kind, files.get(kind)) for kind in search.tune} if search.trials else {}
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        _check(run, search.source_folds)
        with workspace(run.results) as scratch:
            claim_results(run)
            swept = sweep_if_needed(_with_experts(run), cluster, scratch)
            outcome = _route(run, search, spaces, cluster, scratch)
            print_table(outcome.methods)
            conclude(outcome, search, spaces)
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}; the same command tries it again")
    print(f"results: {run.results.out}")
    return SOME_FAILED if outcome.failed else swept


def _check(run: Run, source_folds: Sequence[int]) -> None:
    if missing := [fold for fold in source_folds if fold not in run.folds]:
        known = ", ".join(map(str, run.folds))
        raise ConfigError(f"--source-folds names fold {missing[0]}, but --folds has {known}")
    for target in run.targets:
        folds = len(run.cohorts[target].folds)
        if len(run.folds) < folds:
            raise ConfigError(f"--folds: a router for {target} needs its own models of all {folds} folds")


def _with_experts(run: Run) -> Run:
    """The run whose pairs routing starts from: the targets are sources too, because a target's own model is an expert.

    What is measured stays measured: `--no-resume` is for searches and fits.
    """
    sources = tuple(code for code in run.cohorts if code in {*run.sources, *run.targets})
    return replace(run, sources=sources, config=replace(run.config, resume=True))


def _route(
    run: Run, wanted: SearchConfig, spaces: Mapping[str, SearchSpace], cluster: Cluster, scratch: Path
) -> RoutingOutcome:
    experts, failed = _experts(run)
    job = RoutingJob(run, experts, routing_settings(run, wanted))
    targets = [target for target in run.targets if target not in failed]
    if wanted.timeout:  # the same for each cross-validation: a repeat is to do what the first one did
        wanted = replace(wanted, timeout=wanted.timeout / run.config.repeats)
    trials, missed = _search_and_fit(job, targets, wanted, spaces, cluster, scratch)
    failed |= missed
    repeats = [replace(job, run=run.repeated(number), first=run) for number in range(1, run.config.repeats)]
    for number, repeat in enumerate(repeats, start=1):
        measured = [target for target in targets if repeat.predictions(target) is not None]
        missed = dict.fromkeys({*targets} - {*measured}, "its own models could not be measured")
        missed |= _search_and_fit(repeat, measured, wanted, spaces, cluster, scratch / f"repeat_{number}")[1]
        failed |= {f"repeat {number}, {name}": reason for name, reason in missed.items()}
    measure_missing_means(run, sorted({*run.sources, *targets}), cluster, scratch / "means")
    methods, gates = _tables(job, repeats, targets)
    return RoutingOutcome(job, methods, gates, trials, failed)


def _search_and_fit(
    job: RoutingJob,
    targets: Sequence[str],
    wanted: SearchConfig,
    spaces: Mapping[str, SearchSpace],
    cluster: Cluster,
    scratch: Path,
) -> tuple[dict[Unit, list[TrialRecord]], dict[str, str]]:
    """Search and fit every outer fold of `targets` in one cross-validation: the trials that count, and what failed,
    with the reason."""
    from cropkt.experiments.routing.search import run_searches

    failed: dict[str, str] = {}
    units = [(kind, *unit) for target in targets for kind in spaces for unit in job.folds(target)]
    searches = run_searches(job, units, spaces, wanted, cluster, scratch / "search")
    trials = {unit: search.trials[: wanted.trials] for unit, search in searches.items()}
    chosen: Chosen = {unit: {} for target in targets for unit in job.folds(target)}
    for (kind, target, fold), tried in trials.items():
        # Every fold is fitted with every method: one that no search got to has the default settings.
        chosen[target, fold][kind], reason = _best(tried)
        if reason:
            failed[f"search for a {kind}, {target}, fold {fold}"] = reason
    return trials, failed | _fit(job, chosen, cluster, scratch / "fit")


def _experts(run: Run) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Sources that are experts, by target; and which targets and pairs failed, with the reason."""

    def measured(source: str, target: str) -> bool:
        record = run.results.record(source, target)
        return record is not None and record.pair.status is not Status.FAILED

    experts: dict[str, tuple[str, ...]] = {}
    failed: dict[str, str] = {}
    for target in run.targets:
        wanted = expert_sources(run.cohorts, target, run.sources)
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
    return experts, failed


def _best(tried: Sequence[TrialRecord]) -> tuple[Mapping[str, Any], str]:
    """The best trial's values, or none and the reason, where trials ran and none was completed."""
    from cropkt.experiments.routing.search import best_trial

    best = best_trial(tried)
    if best is not None:
        return best.values, ""
    return {}, (tried[0].failed or "no trial was completed") if tried else ""


def _fit(job: RoutingJob, chosen: Chosen, cluster: Cluster, scratch: Path) -> dict[str, str]:
    """The final fits that are not done; returns those that failed, with the reason."""
    from cropkt.experiments.routing.trial import FitTrial
    from cropkt.experiments.tune import run_trials

    todo = _unfitted(job, chosen)
    failed: dict[str, str] = {}
    if not todo:
        return failed
    with stage("final fits", len(todo), "folds") as line:

        def on_end(fit: FoldFit, result: Mapping[str, Any], died: str) -> None:
            name = f"{fit.target}, fold {fit.fold}"
            if reason := died or result.get("failed", ""):
                failed[name] = reason
            line.advance(name)

        run_trials(FitTrial, job, todo, cluster.workers(len(todo)), scratch, on_end=on_end)
    return failed


def _unfitted(job: RoutingJob, chosen: Chosen) -> list[FoldFit]:
    """The fits of outer folds without a valid record; what is stored of these is forgotten."""
    cohorts, todo = job.run.cohorts, []
    best = {
        target: chosen_sources(job.predictions(target), cohorts[target].folds, job.sources[target])
        for target in dict.fromkeys(target for target, _ in chosen)
    }
    for (target, fold), values in chosen.items():
        source = best[target][fold] if best[target] else None
        fit = FoldFit(target, fold, dict(values), source, digest(job.fingerprint(target), values, source))
        record = job.folder(target).record(fold) if job.run.config.resume else None
        if record is None or record.fingerprint != fit.fingerprint:
            forget_fold(job.folder(target), fold)
            todo.append(fit)
    return todo


def _tables(
    job: RoutingJob, repeats: Sequence[RoutingJob], targets: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The methods' table and the gates of `targets`; and OUT/routing.parquet and gates.parquet, which keep the rows of
    other targets."""
    methods, gates = [], []
    shelf, vectors = CohortShelf(job.run), VectorShelf(job.lenders)
    for target in targets:
        folder, cohort = job.folder(target), job.run.cohorts[target]
        first, *further = (_routed(of, shelf, vectors, target) for of in (job, *repeats))
        methods.append(method_table(first, further))
        store_calibration(folder, len(cohort.folds))
        gates.append(read_gates(folder, len(cohort.folds)))
    routed = _joined(methods, ROUTING), _joined(gates, GATES)
    write_routing(job.run.results, *routed, codes=list(job.run.cohorts))
    return routed


def _routed(job: RoutingJob, shelf: CohortShelf, vectors: VectorShelf, target: str) -> RoutedFolds:
    """What a cross-validation of `target` has left, and what borrowing says in it."""
    folds, predictions = job.run.cohorts[target].folds, job.predictions(target)
    truth = true_log_risk(job.run.study.folder, target, predictions.patients) if predictions else None
    return RoutedFolds(job.folder(target), folds, predictions, _borrowed(job, shelf, vectors, target), truth)


def _borrowed(
    job: RoutingJob, shelf: CohortShelf, vectors: VectorShelf, target: str
) -> dict[str, dict[str, np.ndarray]]:
    """What borrowing says of the target's test patients; the sources lend. Nothing, with a warning, where it cannot.

    Vectors are borrowed from where all pairs of those who lend are measured.
    """
    run, codes = job.run, lender_codes(job.run.cohorts, target, job.lenders.sources)
    if not codes:
        return {}
    try:
        lenders = shelf.lenders(codes)
    except InputError as error:  # no feature varies, say: no reason to lose what routers have found
        print(f"warning: {target}: nothing can be borrowed ({error})")
        return {}
    patients = shelf.means(target).patients
    folds = fold_splits(run.cohorts[target], patients)
    found = borrowed_methods(lenders, shelf.patients(target), patients, folds, seed=run.plan.seed)
    seen, lending = vectors.vectors(target, codes), vectors.lenders(codes)
    if seen is not None and lending is not None:
        held = with_outcomes(run.cohorts[target], seen)
        found |= borrowed_on_vectors(lending, held, seen.patients, fold_splits(run.cohorts[target], seen.patients))
    return found


def _joined(parts: Sequence[pd.DataFrame], table: Table) -> pd.DataFrame:
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else table.frame([])
