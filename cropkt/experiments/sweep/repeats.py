"""Repeats of what cohorts train on their own patients: each is a small sweep of its own, within the cohorts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropkt.experiments.cluster import Cluster
from cropkt.experiments.progress import stage
from cropkt.experiments.run import Run
from cropkt.transfer.scores import forget_attempts, remove_scores
from cropkt.transfer.store import ResultsFolder, store_failure


def measure_repeats(run: Run, cluster: Cluster, scratch: Path) -> list[str]:
    """Train and measure what is missing of the repeats that are asked for; returns what failed, with the reason."""
    from cropkt.experiments.sources.driver import train_missing_sources

    failed = []
    for number in range(1, run.config.repeats):
        repeat = run.repeated(number)
        untrained = train_missing_sources(repeat, cluster, scratch / f"sources_{number}")
        for target, reason in untrained.items():
            store_failure(repeat.results, target, target, f"could not be trained: {reason}")
        todo = [pair for pair in unmeasured(repeat) if pair[0] not in untrained]
        if todo:
            _measure(repeat, todo, cluster, scratch / f"repeat_{number}")
        failed += [
            f"repeat {number}, {source} on {target}: {_reason(repeat.results, source, target)}"
            for source, target in unmeasured(repeat)
        ]
    return failed


def repeats_missing(run: Run) -> bool:
    """Whether a repeat that is asked for lacks anything."""
    repeats = [run.repeated(number) for number in range(1, run.config.repeats)]
    return any(repeat.untrained() or unmeasured(repeat) for repeat in repeats)


def unmeasured(repeat: Run) -> list[tuple[str, str]]:
    """The repeat's pairs without a record that is true today."""
    records = {pair: repeat.results.record(*pair) for pair in repeat.own_pairs()}
    return [pair for pair, record in records.items() if record is None or not record.is_done(repeat.fingerprint(*pair))]


def _measure(repeat: Run, todo: list[tuple[str, str]], cluster: Cluster, scratch: Path) -> None:
    from cropkt.experiments.sweep.trial import PairTrial, SweepJob
    from cropkt.experiments.tune import run_trials

    forget_attempts(repeat.results)
    with stage("repeats", len(todo), "models") as line:

        def on_end(pair: tuple[str, str], _result: Mapping[str, Any], died: str) -> None:
            if died:
                store_failure(repeat.results, *pair, died)
            line.advance(pair[1])

        job = SweepJob(repeat, tuple(todo))
        run_trials(PairTrial, job, todo, cluster.workers(len(todo)), scratch, on_end=on_end)
    for target in {target for _, target in todo}:
        remove_scores(repeat.results, target)


def _reason(results: ResultsFolder, source: str, target: str) -> str:
    record = results.record(source, target)
    return record.pair.reason if record is not None else "not measured"
