"""Ray Tune: the transfer sweep, one trial per pair, target by target.

Workers read a target's slides once, between them, and run all models over them; a trial is arithmetic on what comes out
(trial.py). It writes its pair to the results folder before it reports, so what is done survives anything; a new run
makes trials of the rest only.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cropkt.experiments.cluster import Cluster, session
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.progress import Stage, stage
from cropkt.experiments.run import Run, prepare
from cropkt.experiments.workspace import workspace
from cropkt.transfer.assemble import matrix, update_comparison, write_tables
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.scores import forget_attempts, remove_scores
from cropkt.transfer.store import read_record, store_failure

if TYPE_CHECKING:
    from cropkt.experiments.tracking.sweep import Tracker

ROUNDS = 2
"""A node that goes may take a trial with it several times before Ray notices. Such trials get another round when all
others are done; one that kills its worker by itself fails again."""
TABLES_EVERY = 15.0
"""Seconds between two writings of the tables while pairs come in; they are read from all records each time."""


def sweep_transfer(config: RunConfig) -> int:
    """Measure every selected pair that is not done yet, training sources that are missing; returns the exit code.

    Writes transfer.parquet, pairs.parquet, source_choice.parquet, transfer_matrix.csv and .png, report.html,
    predictions/ and representations/ under the results folder, and logs to MLflow.
    """
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        with workspace(run.results) as scratch:
            pairs = _sweep(run, cluster, scratch)
    return _conclude(run, pairs)


def sweep_if_needed(run: Run, cluster: Cluster, scratch: Path) -> None:
    """Measure those of the run's pairs that are missing. Nothing is started when nothing is missing."""
    if run.untrained() or _todo(run, {}):
        _conclude(run, _sweep(run, cluster, scratch))
    else:  # a run that was killed when all pairs were measured has left no tables
        _compare(run)
        write_tables(run.results)


def _sweep(run: Run, cluster: Cluster, scratch: Path) -> pd.DataFrame:
    from cropkt.experiments.sources.driver import train_missing_sources
    from cropkt.experiments.tracking.sweep import tracking

    untrained = train_missing_sources(run, cluster, scratch)
    settings = run.settings()
    with tracking(run.results, run.experiment, run.config.tracking, settings=settings) as tracker:
        todo = _todo(run, untrained)
        forget_attempts(run.results)
        for number in range(ROUNDS):
            if todo:
                _measure(run, todo, cluster, scratch / f"round_{number}", tracker)
            todo = [pair for pair in todo if _worker_died(run, *pair)]
        _compare(run)
        pairs = write_tables(run.results)
        _draw(run, pairs, settings)
        if tracker is not None:
            tracker.log_sweep()
            tracker.log_sources()
    return pairs


def _compare(run: Run) -> None:
    for target in run.targets:
        update_comparison(run.results, target, run.cohorts[target].folds)


def _todo(run: Run, untrained: Mapping[str, str]) -> list[tuple[str, str]]:
    """The run's pairs and baselines that have no valid record, target by target.

    A pair whose source is untrained is recorded as failed.
    """
    todo = []
    for source, target in run.pairs():
        if source in untrained:
            store_failure(run.results, source, target, f"source {source} could not be trained: {untrained[source]}")
            continue
        record = read_record(run.results, source, target) if run.config.resume else None
        if record is None or record["fingerprint"] != run.fingerprint(source, target):
            todo.append((source, target))
    return todo


def _worker_died(run: Run, source: str, target: str) -> bool:
    from cropkt.experiments.tune import WORKER_DIED

    record = read_record(run.results, source, target)
    return record is None or record["pair"]["status"].endswith(WORKER_DIED)


def _measure(
    run: Run, pairs: Sequence[tuple[str, str]], cluster: Cluster, scratch: Path, tracker: "Tracker | None"
) -> None:
    from cropkt.experiments.sweep.trial import PairTrial, SweepJob
    from cropkt.experiments.tune import run_trials

    workers = cluster.workers(len(pairs))
    with stage("transfer", len(pairs), "pairs") as line:
        job = SweepJob(run, tuple(pairs))
        run_trials(PairTrial, job, pairs, workers, scratch, on_end=_Follow(run, pairs, line, tracker))


class _Follow:
    """As pairs end: progress; comparisons and log of each target that is complete; tables so far."""

    def __init__(self, run: Run, pairs: Sequence[tuple[str, str]], line: Stage, tracker: "Tracker | None") -> None:
        self._open = Counter(target for _, target in pairs)
        self._run = run
        self._line = line
        self._tracker = tracker
        self._named: set[str] = set()
        self._written = time.monotonic()

    def __call__(self, pair: tuple[str, str], result: Mapping[str, Any], died: str) -> None:
        source, target = pair
        if died:
            store_failure(self._run.results, source, target, died)
        left_out = result.get("left_out")
        if left_out and target not in self._named:
            self._named.add(target)
            self._line.say(f"warning: target {target}: slides left out: {', '.join(left_out)}")
        self._line.advance(f"target {target}")
        self._open[target] -= 1
        if self._open[target] == 0:
            self._complete(target)

    def _complete(self, target: str) -> None:
        remove_scores(self._run.results, target)
        update_comparison(self._run.results, target, self._run.cohorts[target].folds)
        if time.monotonic() - self._written > TABLES_EVERY:
            write_tables(self._run.results)
            self._written = time.monotonic()
        if self._tracker is not None:
            self._tracker.log_target(target)


def _draw(run: Run, pairs: pd.DataFrame, settings: dict[str, str]) -> None:
    from cropkt.report.matrix import draw_matrix
    from cropkt.report.page import write_report

    results, study = run.results, run.study.name
    ours = pairs[(pairs["encoder"] == results.encoder) & (pairs["architecture"] == results.architecture)]
    draw_matrix(
        matrix(ours),
        results.out / "transfer_matrix.png",
        title="Transfer of prognostic knowledge between cancers",
        subtitle=f"study {study} · {results.encoder} · {results.architecture} · mean over fold pairs",
    )
    write_report(results.out, results.encoder, results.architecture, study=study, settings=settings)


def _conclude(run: Run, pairs: pd.DataFrame) -> int:
    ours = pairs[
        (pairs["encoder"] == run.results.encoder)
        & (pairs["architecture"] == run.results.architecture)
        & pairs["source"].isin([*run.sources, *BASELINES])
        & pairs["target"].isin(run.targets)
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
    print(f"results: {run.results.out}")
    if failed.empty:
        return DONE
    print(f"{len(failed)} pairs failed; the same command tries them again:")
    for reason, group in failed.groupby("status"):
        names = [f"{row.source} on {row.target}" for row in group.itertuples()]
        print(f"  {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}: {reason}")
    return SOME_FAILED
