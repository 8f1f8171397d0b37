"""Ray Tune: the transfer sweep, one trial a pair, target by target.

Workers reuse their process and keep the target's bags resident between trials (trial.py). A trial writes its pair to
the results folder before it reports, so what is done survives anything; a new run makes trials of the rest only.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cropkt.experiments.cluster import Workers, choose_device, choose_precision, lay_out, ray_session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import Selection, select, source_plan
from cropkt.experiments.workspace import workspace
from cropkt.training.sources import SourcePlan, missing_folds
from cropkt.transfer.protocol import BASELINES
from cropkt.transfer.results import read_record, store_failure
from cropkt.transfer.tables import matrix, update_comparison, write_tables

if TYPE_CHECKING:
    from cropkt.experiments.tracking import Tracker
    from cropkt.experiments.trial import SweepJob

RETRIES = 1
"""How often a trial whose worker died is tried again at once."""
ROUNDS = 2
"""A node that goes may take a trial with it several times before Ray notices. Such trials get another round when all
others are done; one that kills its worker by itself fails again."""


def sweep_transfer(config: RunConfig) -> int:
    """Measure every selected pair that is not done yet, training sources that are missing; returns the exit code.

    Writes transfer.parquet, pairs.parquet, source_choice.parquet, transfer_matrix.csv and .png, report.html,
    predictions/ and representations/ under the results folder, and logs to MLflow.
    """
    selection = select(config)
    for warning in selection.study.warnings:
        print(f"warning: {warning}")
    with workspace(selection.results) as scratch, ray_session():
        pairs = _sweep(config, selection, scratch)
    return _conclude(selection, pairs)


def _sweep(config: RunConfig, selection: Selection, scratch: Path) -> pd.DataFrame:
    from cropkt.experiments.sources import train_missing_sources
    from cropkt.experiments.tracking import tracking
    from cropkt.experiments.trial import SweepJob

    device = choose_device(config)
    plan = source_plan(selection, config, device=device, precision=choose_precision(config, device))
    cohorts = selection.study.cohorts
    sources = [cohorts[code] for code in selection.sources]
    untrained = train_missing_sources(config, plan, sources, selection.folds, scratch)
    job = SweepJob(selection.results, plan, selection.folds, dict(cohorts))
    settings = _settings(config, selection, plan)
    experiment = config.experiment or selection.study.name
    with tracking(
        selection.results, experiment, uri=config.tracking_uri, settings=settings, wanted=config.tracking
    ) as tracker:
        todo = _todo(config, selection, job, untrained)
        for number in range(ROUNDS):
            if todo:
                _fit(job, todo, lay_out(config, device, len(todo)), scratch / f"round_{number}", tracker)
            todo = [pair for pair in todo if _worker_died(job, *pair)]
        for target in selection.targets:
            update_comparison(selection.results, target, cohorts[target].folds)
        pairs = write_tables(selection.results)
        _draw(selection, pairs, settings)
        if tracker is not None:
            tracker.log_sweep()
            tracker.log_sources()
    return pairs


def sweep_if_needed(config: RunConfig, selection: Selection, scratch: Path) -> tuple[SourcePlan, int]:
    """Measure those of the selected pairs that are missing, in a Ray session and workspace of the caller's.

    Returns the plan of the source models and the sweep's exit code: some pairs may have failed, which it has listed.
    Nothing is started when nothing is missing.
    """
    from cropkt.experiments.trial import SweepJob

    device = choose_device(config)
    plan = source_plan(selection, config, device=device, precision=choose_precision(config, device))
    cohorts = selection.study.cohorts
    untrained = any(missing_folds(plan, cohorts[code], selection.folds) for code in selection.sources)
    if untrained or _todo(config, selection, SweepJob(selection.results, plan, selection.folds, dict(cohorts)), {}):
        return plan, _conclude(selection, _sweep(config, selection, scratch))
    # A run that was killed when all pairs were measured has left no tables.
    for target in selection.targets:
        update_comparison(selection.results, target, cohorts[target].folds)
    write_tables(selection.results)
    return plan, DONE


def _settings(config: RunConfig, selection: Selection, plan: SourcePlan) -> dict[str, str]:
    """What the sweep's parent run and the report say it was made with."""
    return {
        "study": selection.study.name,
        "encoder": selection.results.encoder,
        "architecture": selection.results.architecture,
        "protocol": config.protocol,
        "precision": plan.precision,
        "seed": str(plan.seed),
        **{name: str(value) for name, value in asdict(plan.training).items()},
    }


def _todo(config: RunConfig, selection: Selection, job: "SweepJob", untrained: dict[str, str]) -> list[tuple[str, str]]:
    """The selected pairs and baselines that have no valid record, target by target.

    A pair whose source is untrained is recorded as failed.
    """
    todo = []
    sources = (*selection.sources, *(BASELINES if config.baselines else ()))
    for source, target in ((source, target) for target in selection.targets for source in sources):
        if source in untrained:
            store_failure(job.results, source, target, f"source {source} could not be trained: {untrained[source]}")
            continue
        record = read_record(job.results, source, target) if config.resume else None
        if record is None or record["fingerprint"] != job.fingerprint(source, target):
            todo.append((source, target))
    return todo


def _worker_died(job: "SweepJob", source: str, target: str) -> bool:
    from cropkt.experiments.watch import WORKER_DIED

    record = read_record(job.results, source, target)
    return record is None or record["pair"]["status"].endswith(WORKER_DIED)


def _fit(
    job: "SweepJob", pairs: Sequence[tuple[str, str]], workers: Workers, scratch: Path, tracker: "Tracker | None"
) -> None:
    from ray import tune

    from cropkt.experiments.progress import stage
    from cropkt.experiments.trial import InOrder, PairTrial
    from cropkt.experiments.watch import Watch

    with stage("transfer", len(pairs), "pairs") as line:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(PairTrial, job=job), workers.resources),
            param_space={"pair": tune.grid_search(list(pairs))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=workers.count, scheduler=InOrder()),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[Watch(pairs, job, line, tracker)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
            ),
        )
        tuner.fit()


def _draw(selection: Selection, pairs: pd.DataFrame, settings: dict[str, str]) -> None:
    from cropkt.report.matrix import draw_matrix
    from cropkt.report.page import write_report

    results, study = selection.results, selection.study.name
    ours = pairs[(pairs["encoder"] == results.encoder) & (pairs["architecture"] == results.architecture)]
    draw_matrix(
        matrix(ours),
        results.out / "transfer_matrix.png",
        title="Transfer of prognostic knowledge between cancers",
        subtitle=f"study {study} · {results.encoder} · {results.architecture} · mean over fold pairs",
    )
    write_report(results.out, results.encoder, results.architecture, study=study, settings=settings)


def _conclude(selection: Selection, pairs: pd.DataFrame) -> int:
    ours = pairs[
        (pairs["encoder"] == selection.results.encoder)
        & (pairs["architecture"] == selection.results.architecture)
        & pairs["source"].isin([*selection.sources, *BASELINES])
        & pairs["target"].isin(selection.targets)
    ]
    failed = ours[ours["status"].str.startswith("failed")]
    measured = ours[~ours["source"].isin(BASELINES)]
    undefined = int((measured["status"] == "no comparable pair").sum())
    lost = int(measured["status"].str.startswith("failed").sum())
    means = measured.groupby("mode")["c_index_mean"].mean()
    where = {"self": "within cohorts", "transfer": "between them"}
    print(
        f"{len(measured) - lost} of {len(measured)} pairs measured; mean C-index "
        + ", ".join(f"{means[mode]:.3f} {place}" for mode, place in where.items() if pd.notna(means.get(mode)))
        + (f"; {undefined} pairs have no comparable patients" if undefined else "")
    )
    skipped = measured.groupby("target", sort=False)["skipped_slides"].max().fillna(0).astype(int)
    if skipped.sum():
        per_target = ", ".join(f"{code} {count}" for code, count in skipped[skipped > 0].items())
        print(f"warning: {skipped.sum()} slides could not be used and were left out ({per_target})")
    print(f"results: {selection.results.out}")
    if failed.empty:
        return DONE
    print(f"{len(failed)} pairs failed; the same command tries them again:")
    for reason, group in failed.groupby("status"):
        names = [f"{row.source} on {row.target}" for row in group.itertuples()]
        print(f"  {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}: {reason}")
    return SOME_FAILED
