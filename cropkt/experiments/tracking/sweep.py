"""The mirror of a sweep in MLflow, written by the driver alone, one thread behind the work.

Results are on disk before anything is logged, so a store that is slow or down delays nothing and loses nothing: it is
tried again with each target that is complete and at the end, and `log_results` (cropkt log) brings it up to date at any
later time. Logging twice logs once: a pair's run carries the fingerprint of what it measured, and OUT/tracking/ says
which parent run it belongs to.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import TrackingConfig
from cropkt.experiments.tracking.analysis import log_stored
from cropkt.experiments.tracking.card import (
    Card,
    CohortCounts,
    Logged,
    keep_card,
    keep_logged,
    read_logged,
    read_tracking_card,
)
from cropkt.experiments.tracking.models import SourceModels, cohort_dataset
from cropkt.experiments.tracking.store import Entry, Store, is_number, page, reason, tracking_uri
from cropkt.experiments.workspace import workspace
from cropkt.files import content_digest, digest
from cropkt.models.checkpoint import card_path
from cropkt.training.cards import SourceCard, read_source_card
from cropkt.transfer.assemble import read_comparison
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.rows import CHOICE, FOLDS, PAIRS, STALE, PairRow, Status
from cropkt.transfer.significance import sources_beyond_cohorts
from cropkt.transfer.store import PairRecord, ResultsFolder

IDENTITY = tuple(field.name for field in fields(PairRow) if field.default is MISSING)
"""Columns that say which pair a row is of: a run's parameters. Its metrics are the columns that are numbers."""
FILES = (
    *(table.path for table in (FOLDS, PAIRS, CHOICE)),
    *("transfer_matrix.csv", "transfer_matrix.png", "report.html"),
)
ATTEMPTS = 2
"""How often what is logged at the end is tried: one slow answer among hundreds should not leave a gap."""


class Tracker:
    """Logs one results folder to a store, in a thread of its own. Nothing here raises."""

    def __init__(self, results: ResultsFolder, store: Store, card: Card) -> None:
        self._results = results
        self._store = store
        self._card = card
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._waiting: list[Future[None]] = []
        self._problems: dict[str, str] = {}
        self._experiment_id = ""
        self._done: set[str] = set()

    @property
    def problem(self) -> str:
        """Why something has not been logged; "" when all has."""
        return next(iter(self._problems.values()), "")

    def log_target(self, target: str) -> None:
        """Log the pairs of a target that is complete, without waiting for it."""
        self._waiting.append(self._thread.submit(self._try_target, target))

    def log_sweep(self) -> None:
        """Log all pairs, tables and pictures, without waiting for it."""
        for waiting in self._waiting:
            waiting.cancel()  # all pairs are logged now
        self._submit("sweep", self._log_sweep)

    def log_sources(self) -> None:
        """Log the source models, without waiting for it."""
        self._submit("sources", self._log_sources)

    def log_analyses(self) -> None:
        """Log what is stored of analyses (routing, factors), without waiting for it."""
        self._thread.submit(self._try_all, "analyses", self._log_analyses)

    def has_pairs(self) -> bool:
        """Whether any pair has been measured, or has failed."""
        return bool(self._records())

    def stop(self) -> None:
        """Log nothing more, and say nothing."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def finish(self) -> None:
        """Wait until all is logged, and say on the screen where to look, or how to log later."""
        self._thread.shutdown(wait=True)
        out, uri = self._results.out, self._store.uri
        if self.problem:
            print(
                f"warning: MLflow at {uri} could not be used ({self.problem}). All results are in {out}; log them "
                f"later with: cropkt log --out {out} --tracking-uri {uri}"
            )
            return
        if self._done >= {"sweep", "sources"}:
            keep_logged(self._results, self._state())
        command, address = page(uri, self._experiment_id)
        if command:
            print(f"MLflow: {command}")
        print(f"MLflow: {address}")

    def _submit(self, kind: str, work: Callable[[], None]) -> None:
        """Do `work` after all that waits; not where an SQLite file has everything and nobody has touched it since."""
        known = read_logged(self._results)
        self._experiment_id = self._experiment_id or (known.experiment_id if known else "")
        if known is None or not known.file or known != self._state():
            self._thread.submit(self._try_all, kind, work)

    def _state(self) -> Logged:
        """What there is to log now, and the SQLite file as it is ("" without one: a server is always asked)."""
        out, models, database = self._results.out, self._results.models, self._store.database
        there = database.stat() if database is not None and database.is_file() else None
        cards = [card_path(path) for cohort in models.cohorts() for path in models.of(cohort)]
        files = [path for name in (*FILES, STALE.path) if (path := out / name).is_file()]
        records = [self._results.record_path(*pair) for pair in self._results.stored()]
        contents = [[str(path.relative_to(out)), content_digest(path)] for path in (*files, *records, *cards)]
        return Logged(
            digest(asdict(self._card), contents),
            f"{there.st_size} {there.st_mtime_ns} {there.st_ino}" if there else "",
            self._experiment_id,
        )

    def _try_target(self, target: str) -> None:
        """What fails now is tried again with the next target, and at the end."""
        try:
            self._log_pairs(*self._open_sweep(), target)
        except Exception as error:  # whatever a store can raise: it must never cost a result
            self._problems["sweep"] = reason(error)

    def _try_all(self, kind: str, work: Callable[[], None]) -> None:
        for _ in range(ATTEMPTS):
            try:
                work()
            except Exception as error:  # as above
                self._problems[kind] = reason(error)
            else:
                self._problems.pop(kind, None)
                self._done.add(kind)
                return

    def _log_sweep(self) -> None:
        experiment_id, parent_id = self._open_sweep()
        self._log_pairs(experiment_id, parent_id, None)
        self._log_verdicts(experiment_id, parent_id)
        self._close_sweep(parent_id)

    def _log_analyses(self) -> None:
        log_stored(self._results, self._store, self._card)

    def _open_sweep(self) -> tuple[str, str]:
        """The experiment and the parent run, which is made and given its settings if need be."""
        client = self._store.client
        self._experiment_id = experiment_id = self._store.experiment(self._card.experiment)
        tags = {"cropkt.kind": "sweep", "cropkt.results": self._card.id}
        found = self._store.runs(experiment_id, tags)
        if found:
            # A server that answered too late has made the run twice; one of them was given nothing.
            run, *twice = sorted(found, key=lambda run: (-len(run.data.params), run.info.start_time))
            for one in twice:
                self._store.delete([*self._store.runs(experiment_id, {"mlflow.parentRunId": one.info.run_id}), one])
            if run.info.status != "RUNNING":
                client.update_run(run.info.run_id, status="RUNNING")
        else:
            name = f"transfer {self._results.encoder} {self._results.architecture}"
            run = client.create_run(experiment_id, tags=tags | self._card.made_by, run_name=name)
        for key, value in self._card.settings.items():
            if key not in run.data.params:  # a server may have died between the run and its settings
                client.log_param(run.info.run_id, key, value)
        return experiment_id, run.info.run_id

    def _log_pairs(self, experiment_id: str, parent_id: str, target: str | None) -> None:
        """Log the records of `target` (None: of all targets) whose fingerprint has not been logged."""
        # Tags, and not parameters, say which pair a run is of: a run that was cut short has tags alone.
        tags = {"mlflow.parentRunId": parent_id} | ({"cropkt.target": target} if target else {})
        logged: dict[tuple[str, str], list[Any]] = {}
        for run in self._store.delete_halves(self._store.runs(experiment_id, tags)):
            logged.setdefault((run.data.tags["cropkt.source"], run.data.tags["cropkt.target"]), []).append(run)
        compared: dict[tuple[str, str], dict[str, float]] = {}
        models = SourceModels(self._results, self._store, self._card, experiment_id, parent_id)
        for record in self._records(target):
            pair = record.pair
            key = (pair.source, pair.target)
            if key not in compared:
                compared |= self._comparisons(pair.target)
            fingerprint = digest(record.fingerprint, pair.passing_slides, pair.status, pair.reason, compared.get(key))
            known = logged.get(key, [])
            if any(run.data.tags["cropkt.fingerprint"] == fingerprint for run in known):
                continue
            self._store.delete(known)
            entry = self._entry({**compared.get(key, {}), **vars(pair)}, parent_id, fingerprint)
            self._store.log(experiment_id, models.evaluated(entry, *key))

    def _records(self, target: str | None = None) -> list[PairRecord]:
        """Records of pairs that are in no list of stale ones, and of sources that are no cohort; other baselines are
        rows of the tables, and each pair's comparisons with them are its metrics."""
        stale, no_pairs = self._results.stale(), set(BASELINES) - {*sources_beyond_cohorts()}
        return [
            record
            for record in self._results.records(target)
            if record.pair.source not in no_pairs and (record.pair.source, record.pair.target) not in stale
        ]

    def _comparisons(self, target: str) -> dict[tuple[str, str], dict[str, float]]:
        found: dict[tuple[str, str], dict[str, float]] = {}
        comparison = read_comparison(self._results, target)
        for row in comparison.pairs if comparison else ():
            measures = {f"difference_{row.against}": row.difference, f"p_{row.against}": row.p_value}
            found.setdefault((row.source, row.target), {}).update(measures)
        return found

    def _entry(self, row: Mapping[str, Any], parent_id: str, fingerprint: str) -> Entry:
        predictions = self._results.predictions_path(row["source"], row["target"])
        return Entry(
            f"{row['source']} on {row['target']}",
            {
                "mlflow.parentRunId": parent_id,
                "cropkt.kind": "pair",
                "cropkt.source": row["source"],
                "cropkt.target": row["target"],
                "cropkt.fingerprint": fingerprint,
                "cropkt.status": f"failed: {row['reason']}" if row["reason"] else str(row["status"]),
                **self._card.made_by,
            },
            {name: row[name] for name in IDENTITY},
            {name: row.get(name) for name in PAIRS.numbers},
            references=[predictions] if predictions.exists() else [],
            failed=row["status"] == Status.FAILED,
        )

    def _log_sources(self) -> None:
        """One run per source cohort, in an experiment of its own: loss curves by fold, checkpoints and cards."""
        experiment_id = self._store.experiment(f"{self._card.experiment} sources")
        self._experiment_id = self._experiment_id or experiment_id
        known = self._store.delete_halves(self._store.runs(experiment_id, {"cropkt.results": self._card.id}))
        logged = {run.data.tags["cropkt.fingerprint"] for run in known}
        for cohort in self._results.models.cohorts():
            of_path = {path: read_source_card(path) for path in self._results.models.of(cohort)}
            paths = [path for path, card in of_path.items() if card is not None]
            cards = [card for card in of_path.values() if card is not None]
            fingerprint = " ".join(card.fingerprint for card in cards)
            if cards and fingerprint not in logged:
                tags = {
                    "cropkt.kind": "source",
                    "cropkt.results": self._card.id,
                    "cropkt.fingerprint": fingerprint,
                }
                entry = _source_entry(cards, paths, tags | self._card.made_by)
                data = cohort_dataset(self._card, cards[0].cohort, "training")
                self._store.log(experiment_id, replace(entry, datasets=[data] if data else []))

    def _log_verdicts(self, experiment_id: str, parent_id: str) -> None:
        """Tags verdict and q, which need all pairs: they are known only when the tables are."""
        from mlflow.entities import Metric, RunTag

        now, known = int(time.time() * 1000), _verdicts(self._results)
        for run in self._store.runs(experiment_id, {"mlflow.parentRunId": parent_id}):
            tags = known.get((run.data.tags["cropkt.source"], run.data.tags["cropkt.target"]), {})
            new = [RunTag(name, value) for name, value in tags.items() if run.data.tags.get(name) != value]
            if new:
                q = [Metric("q_chance", float(tags["q"]), now, 0)] if "q" in tags else []
                self._store.client.log_batch(run.info.run_id, q, [], new)

    def _close_sweep(self, parent_id: str) -> None:
        from mlflow.entities import Metric

        client = self._store.client
        run = client.get_run(parent_id).info
        for name in FILES:
            if (self._results.out / name).exists():
                self._store.put(run, self._results.out / name)
        records, now = self._records(), int(time.time() * 1000)
        n_pairs = sum(record.pair.source not in BASELINES for record in records)
        metrics = [Metric("pairs", float(n_pairs), now, 0)]
        for mode in ("self", "transfer", *sources_beyond_cohorts()):
            values = [record.pair.c_index_mean for record in records if record.pair.mode == mode]
            values = [value for value in values if is_number(value)]
            if values:
                metrics.append(Metric(f"mean_c_index_{mode}", sum(values) / len(values), now, 0))
        client.log_batch(parent_id, metrics)
        client.set_terminated(parent_id)


def _source_entry(cards: Sequence[SourceCard], paths: Sequence[Path], tags: Mapping[str, str]) -> Entry:
    first = cards[0]
    settings = {"cohort": first.cohort, "encoder": first.encoder, **asdict(first.training)}
    settings |= {"architecture": first.architecture.name, "seed": first.seed}
    files = [file for path in paths for file in (path, card_path(path))]
    metrics = {f"test_c_index_fold_{card.fold}": card.test_c_index for card in cards}
    histories = {f"loss_fold_{card.fold}": _losses_by_epoch(card) for card in cards}
    return Entry(f"source {first.cohort}", tags, settings, metrics, histories, references=files)


def _verdicts(results: ResultsFolder) -> dict[tuple[str, str], dict[str, str]]:
    """Tags of each pair between cohorts, and of sources that are no cohort: verdict and, if there is one, q-value."""
    if not (results.out / PAIRS.path).is_file():  # targets are logged before the first tables are written
        return {}
    rows = pd.concat([results.pairs(), results.baselines()])
    return {
        (row["source"], row["target"]): {
            name: text for name, text in (("verdict", row["verdict"]), ("q", _three_digits(row["q_chance"]))) if text
        }
        for row in rows[rows["mode"].isin(["transfer", *sources_beyond_cohorts()])].to_dict("records")
    }


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if is_number(value) else ""


def _losses_by_epoch(card: SourceCard) -> list[float]:
    epochs, losses = card.training.epochs, card.losses
    updates = max(1, len(losses) // epochs)
    parts = [losses[epoch * updates : (epoch + 1) * updates] for epoch in range(epochs)]
    return [sum(part) / len(part) for part in parts]


@contextmanager
def tracking(
    results: ResultsFolder,
    experiment: str,
    config: TrackingConfig,
    *,
    settings: Mapping[str, str] | None = None,
    cohorts: Mapping[str, CohortCounts] | None = None,
) -> Iterator[Tracker | None]:
    """A tracker of `results`, None when none is wanted; at the end of the block all that was asked for is logged."""
    if not config.wanted:
        yield None
        return
    card = keep_card(results, experiment, settings or {}, cohorts or {})
    tracker = Tracker(results, Store(tracking_uri(results.out, config.uri), results.out), card)
    try:
        yield tracker
    except BaseException:
        tracker.stop()
        raise
    tracker.finish()


def log_results(out: Path, experiment: str | None = None, *, uri: str | None = None) -> int:
    """Bring MLflow up to date with every sweep in the results folder `out`; returns the exit code.

    `experiment` is by default the one that the sweep named. Raises ConfigError when there are no results, or a run
    is writing them.
    """
    kinds = sorted(path for path in (out / "models").glob("*/*") if path.is_dir())
    if not kinds:
        raise ConfigError(f"--out {out}: no results here; name a folder that a sweep has written to")
    problem = False
    for kind in kinds:
        results = ResultsFolder(out, kind.parent.name, kind.name)
        card = read_tracking_card(results)
        named = experiment or (card.experiment if card else out.name)
        with workspace(results), tracking(results, named, TrackingConfig(uri=uri)) as tracker:
            assert tracker is not None
            if tracker.has_pairs():
                tracker.log_sweep()
            tracker.log_sources()
            tracker.log_analyses()
        problem |= bool(tracker.problem)
    return SOME_FAILED if problem else DONE
