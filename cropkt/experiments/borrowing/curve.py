"""Learning curves: every method on the same draws of each target, the table, the picture, the crossing point."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.borrowing.config import CurveConfig, DrawsConfig
from cropkt.experiments.borrowing.means import measure_missing_means
from cropkt.experiments.borrowing.trial import CurveJob, CurveTrial, Draw
from cropkt.experiments.cluster import Cluster, session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.sources.driver import train_missing_sources
from cropkt.experiments.sources.pan_cancer import train_missing_networks
from cropkt.experiments.tracking.analysis import Analysis, log_analysis
from cropkt.experiments.tune import run_trials
from cropkt.experiments.workspace import workspace
from cropkt.report.learning_curves import draw_curves, numbers, told
from cropkt.report.style import save_figure
from cropkt.rivals import ALL, POOLED, SOURCES
from cropkt.rivals.rows import CURVE

PICTURE = "curve.png"


def learning_curves(config: CurveConfig) -> int:
    """Measure what is missing, write OUT/curve.parquet and curve.png, print and log what they say; the exit code."""
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        job = CurveJob(run, config.curve.chosen, config.curve.left_out)
        draws = draws_of(run, config.curve)
        with workspace(run.results) as scratch:
            claim_results(run)
            measure_missing_means(run, list(run.cohorts), cluster, scratch / "means")
            failed = _train_missing(job, draws, cluster, scratch)
            failed |= _measure(job, draws, cluster, scratch / "draws", resume=config.resume)
            table = curve_table(job, draws)
            CURVE.write(run.results.out / CURVE.path, table)
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}; the same command tries it again")
    if not table.empty:
        _show(run, table)
        _log(run, config.curve, table)
    return SOME_FAILED if failed else DONE


def draws_of(run: Run, wanted: DrawsConfig) -> list[Draw]:
    """Target by target, size by size. Raises ConfigError where a target has no other cohort to borrow from."""
    if len(run.cohorts) < 2:
        raise ConfigError(f"study {run.study.name} has one cohort; borrowing needs others")
    found = []
    for target in run.targets:
        if run.cohorts[target].labels["event"].sum() < wanted.least_events:
            continue
        for size in wanted.patients:
            numbers = range(1 if size == ALL else wanted.draws)
            found += [Draw(target, size, number) for number in numbers]
    return found


def _train_missing(job: CurveJob, draws: list[Draw], cluster: Cluster, scratch: Path) -> dict[str, str]:
    """The networks that a method needs; those that could not be trained, with the reason."""
    run = job.run
    failed: dict[str, str] = {}
    if SOURCES in job.needs:
        failures = train_missing_sources(run, cluster, scratch / "sources")
        failed |= {f"source {code}": reason for code, reason in failures.items()}
    if POOLED in job.needs:
        jobs = {networks.name: networks for networks in (job.networks(draw.target) for draw in draws)}
        failed |= train_missing_networks(run, list(jobs.values()), cluster, scratch / "pan_cancer")
    return failed


def _measure(job: CurveJob, draws: list[Draw], cluster: Cluster, scratch: Path, *, resume: bool) -> dict[str, str]:
    if not resume:
        for draw in draws:
            job.path(draw).unlink(missing_ok=True)
    todo = [draw for draw in draws if job.missing(draw)]
    failed: dict[str, str] = {}
    if not todo:
        return failed
    with stage("draws", len(todo), "draws") as line:

        def on_end(draw: Draw, result: Mapping[str, Any], died: str) -> None:
            name = f"{draw.target}, {draw.patients} patients, draw {draw.number}"
            if reason := died or result.get("failed", ""):
                failed[name] = reason
            line.advance(name)

        run_trials(CurveTrial, job, todo, cluster.workers(len(todo)), scratch, on_end=on_end)
    return failed


def curve_table(job: CurveJob, draws: list[Draw]) -> pd.DataFrame:
    """Rows (rows.CURVE) of everything that is measured of `draws`."""
    rows = [job.stored(draw).get(name) for draw in draws for name in job.methods]
    return CURVE.frame(vars(row) for row in rows if row is not None)


def _show(run: Run, table: pd.DataFrame) -> None:
    named = table.assign(study=run.study.name)
    print("\n".join(told(named)))
    path = save_figure(run.results.out / PICTURE, draw_curves(named))
    print(f"table: {run.results.out / CURVE.path}, picture: {path}")


def _log(run: Run, wanted: DrawsConfig, table: pd.DataFrame) -> None:
    """One run in MLflow with means, gains, table and picture; it replaces that of an earlier curve in this folder."""
    if not run.config.tracking.wanted:
        return
    out = run.results.out
    parameters = {
        "targets": ",".join(table["target"].unique()),
        "patients": ",".join(wanted.patients),
        "draws": wanted.draws,
        "methods": ",".join(wanted.chosen),
        "left_out": wanted.left_out,
        "encoder": run.results.encoder,
        "architecture": run.results.architecture,
        "seed": run.plan.seed,
    }
    metrics = numbers(table.assign(study=run.study.name))
    entry = Analysis("curve", "learning curves", parameters, metrics, files=[out / PICTURE], tables=[out / CURVE.path])
    if problem := log_analysis(run.results, run.study.name, run.config.tracking, entry):
        print(f"warning: MLflow could not be used ({problem}); all results are in {out}, run again to log them")
