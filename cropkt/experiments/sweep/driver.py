"""Ray Tune: the transfer sweep, one trial per pair, target by target.

Workers read a target's slides once, between them, and run all models over them; a trial is arithmetic on what comes out
(trial.py). It writes its pair to the results folder before it reports, so what is done survives anything; a new run
makes trials of the rest only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cropkt.experiments.cluster import Cluster, session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.journal import note
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.sweep.repeats import measure_repeats, repeats_missing
from cropkt.experiments.sweep.summary import summary
from cropkt.experiments.workspace import workspace
from cropkt.training.config import PAN_CANCER
from cropkt.transfer.assemble import stale_message, update_comparison, write_tables
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.rows import Status
from cropkt.transfer.scores import forget_attempts
from cropkt.transfer.significance import sources_beyond_cohorts
from cropkt.transfer.store import ResultsFolder, check_record, store_failure

if TYPE_CHECKING:
    from cropkt.experiments.tracking.sweep import Tracker

ROUNDS = 2
"""A node that goes may take a trial with it several times before Ray notices. Such trials get another round when all
others are done; one that kills its worker by itself fails again."""


def sweep_transfer(config: RunConfig) -> int:
    """Measure every selected pair that is not done yet, training sources that are missing; returns the exit code.

    Writes transfer.parquet, pairs.parquet, source_choice.parquet, transfer_matrix.csv and .png, report.html,
    predictions/ and representations/ under the results folder, and logs to MLflow.
    """
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        with workspace(run.results) as scratch:
            claim_results(run)
            _sweep(run, cluster, scratch)
    return _conclude(run)


def sweep_if_needed(run: Run, cluster: Cluster, scratch: Path) -> int:
    """Measure those of the run's pairs that are missing; returns the exit code. Nothing is started when none is."""
    if run.untrained() or _todo(run, {}) or repeats_missing(run):
        _sweep(run, cluster, scratch)
        return _conclude(run)
    _write_tables(run)  # a run that was killed when all pairs were measured has left none
    return DONE


def _sweep(run: Run, cluster: Cluster, scratch: Path) -> None:
    from cropkt.experiments.sources.driver import train_missing_sources
    from cropkt.experiments.sources.pan_cancer import train_pan_cancer_networks
    from cropkt.experiments.tracking.card import cohorts_shown
    from cropkt.experiments.tracking.sweep import tracking
    from cropkt.report.page import draw_report

    untrained = {
        (source, target): f"source {source} could not be trained: {reason}"
        for source, reason in train_missing_sources(run, cluster, scratch).items()
        for target in run.targets
    }
    if PAN_CANCER in run.baselines:
        failures = train_pan_cancer_networks(run, cluster, scratch / "pan_cancer")
        untrained |= {(PAN_CANCER, target): f"could not be trained: {why}" for target, why in failures.items()}
    settings = run.settings()
    shown = cohorts_shown(run.study)
    with tracking(run.results, run.experiment, run.config.tracking, settings=settings, cohorts=shown) as tracker:
        todo = _todo(run, untrained)
        forget_attempts(run.results)
        for number in range(ROUNDS):
            if todo:
                _measure(run, todo, cluster, scratch / f"round_{number}", tracker)
            todo = [pair for pair in todo if _worker_died(run.results, *pair)]
        for failure in measure_repeats(run, cluster, scratch):
            print(f"warning: {failure}; the same command tries it again")
        _write_tables(run)
        draw_report(run.results, study_name=run.study.name, settings=settings)
        if tracker is not None:
            tracker.log_sweep()
            tracker.log_sources()


def _write_tables(run: Run) -> None:
    repeats = run.repeats()
    for target, cohort in run.cohorts.items():
        update_comparison(run.results, target, cohort.folds, run.fingerprint, repeats)
    tables = write_tables(run.results, run.fingerprint, repeats)
    if message := stale_message(tables):
        print(f"warning: {message}")


def _todo(run: Run, untrained: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """The run's pairs and baselines that have no valid record, target by target.

    Those that are `untrained`, with the reason, are recorded as failed.
    """
    todo, damaged = [], []
    for source, target in run.pairs():
        if why := untrained.get((source, target)):
            store_failure(run.results, source, target, why)
            continue
        record, damage = check_record(run.results, source, target)
        if record is None and run.results.record_path(source, target).exists():
            damaged.append(f"{source} on {target} ({damage})")
        if not run.config.resume or record is None or not record.is_done(run.fingerprint(source, target)):
            todo.append((source, target))
    if damaged:
        print(f"warning: {len(damaged)} damaged results are measured again: {', '.join(damaged[:6])}")
    return todo


def _worker_died(results: ResultsFolder, source: str, target: str) -> bool:
    from cropkt.experiments.tune import WORKER_DIED

    record = results.record(source, target)
    return record is None or record.pair.reason == WORKER_DIED


def _measure(
    run: Run, pairs: Sequence[tuple[str, str]], cluster: Cluster, scratch: Path, tracker: "Tracker | None"
) -> None:
    from cropkt.experiments.sweep.follow import Follow
    from cropkt.experiments.sweep.trial import PairTrial, SweepJob
    from cropkt.experiments.tune import run_trials

    workers = cluster.workers(len(pairs))
    with stage("transfer", len(pairs), "pairs") as line:
        follow = Follow(run, pairs, line, tracker)
        run_trials(PairTrial, SweepJob(run, tuple(pairs)), pairs, workers, scratch, on_end=follow)
        follow.finish()


def _choice(run: Run) -> pd.DataFrame:
    choice = run.results.choice()
    return choice[choice["target"].isin(run.targets)]


def _conclude(run: Run) -> int:
    pairs, baselines = run.results.pairs(), run.results.baselines()
    measured = pairs[pairs["source"].isin(run.sources) & pairs["target"].isin(run.targets)]
    everything = pd.concat([measured, baselines[baselines["target"].isin(run.targets)]])
    failed = everything[everything["status"] == Status.FAILED]
    undefined = int((measured["status"] == Status.NO_COMPARABLE_PAIR).sum())
    lost = int((measured["status"] == Status.FAILED).sum())
    means = measured.groupby("mode")["c_index_mean"].mean()
    where = {"self": "within cohorts", "transfer": "between them"}
    print(
        f"{len(measured) - lost} of {len(measured)} pairs measured; mean C-index "
        + ", ".join(f"{means[mode]:.3f} {place}" for mode, place in where.items() if pd.notna(means.get(mode)))
        + (f"; {undefined} pairs have no comparable patients" if undefined else "")
    )
    beyond = everything[everything["mode"].isin(sources_beyond_cohorts()) & everything["c_index_mean"].notna()]
    for name, values in beyond.groupby("mode")["c_index_mean"]:
        print(f"{BASELINES[str(name)].label}: mean C-index {values.mean():.3f} on {len(values)} targets")
    if passing := int((everything["passing_slides"] > 0).sum()):
        print(f"warning: {passing} results lack slides that could not be read this time; the same command tries again")
    skipped = measured.groupby("target", sort=False)["skipped_slides"].max().fillna(0).astype(int)
    if skipped.sum():
        per_target = ", ".join(f"{code} {count}" for code, count in skipped[skipped > 0].items())
        print(f"warning: {skipped.sum()} slides could not be used and were left out ({per_target})")
    note(counts={"pairs": len(measured), "failed": len(failed), "skipped_slides": int(skipped.sum())})
    for line in summary(measured, _choice(run)):
        print(line)
    print(f"results: {run.results.out}")
    if failed.empty:
        return SOME_FAILED if repeats_missing(run) else DONE
    print(f"{len(failed)} pairs failed; the same command tries them again:")
    for reason, group in failed.groupby("reason"):
        names = [f"{row.source} on {row.target}" for row in group.itertuples()]
        print(f"  {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}: failed: {reason}")
    return SOME_FAILED
