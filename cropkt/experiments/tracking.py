"""MLflow: a mirror of the results folder, written by the driver alone, one thread behind the work.

Results are on disk before anything is logged, so a store that is slow or down delays nothing and loses nothing:
`log_results` (scripts/log_results.py) brings a store up to date at any later time. Logging twice logs once: a pair's
run carries the fingerprint of what it measured, and OUT/tracking/ says which parent run it belongs to.
"""

import math
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropkt.errors import ConfigError
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.workspace import workspace
from cropkt.files import digest, read_json, write_json
from cropkt.models.checkpoint import card_path
from cropkt.training.cards import SourceCard, read_source_card
from cropkt.transfer.assemble import read_comparison
from cropkt.transfer.protocol import BASELINES
from cropkt.transfer.rows import Status
from cropkt.transfer.store import PairRecord, ResultsFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment for MLflow: its own patience with a server that is down is minutes."""
_PAIR_METRICS = [
    "c_index_mean",
    "c_index_pooled",
    "standard_error",
    "interval_lower",
    "interval_upper",
    "p_chance",
    "n_patients",
    "n_events",
    "n_comparable",
    "folds_used",
    "skipped_slides",
    "seconds",
]
_PAIR_PARAMETERS = ("source", "target", "encoder", "architecture", "mode")
_FILES = (
    "transfer.parquet",
    "pairs.parquet",
    "source_choice.parquet",
    "transfer_matrix.csv",
    "transfer_matrix.png",
    "report.html",
)


class Tracker:
    """Logs one results folder to the store at `uri`, in a thread of its own.

    `problem` says why logging stopped; it is "" while all is well. Nothing here raises.
    """

    def __init__(self, results: ResultsFolder, uri: str, card: Mapping[str, Any]) -> None:
        self.problem = ""
        self._results = results
        self._uri = uri
        self._card = card
        self._experiment: str = card["experiment"]
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._client: MlflowClient
        self._experiment_id = ""
        self._parent_id = ""
        self._later(self._connect)

    def log_target(self, target: str) -> None:
        """Log the pairs of a target that is complete, without waiting for it."""
        self._later(self._open_sweep)
        self._later(self._log_pairs, target)

    def log_sweep(self) -> None:
        """Log all pairs, tables and pictures, without waiting for it."""
        self._later(self._open_sweep)
        self._later(self._log_pairs, None)
        self._later(self._close_sweep)

    def has_pairs(self) -> bool:
        """Whether any pair has been measured, or has failed."""
        return bool(self._records())

    def log_sources(self) -> None:
        """Log the source models, without waiting for it."""
        self._later(self._log_sources)

    def stop(self) -> None:
        """Log nothing more, and say nothing."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def finish(self) -> None:
        """Wait until all is logged, and say on the screen where to look, or how to log later."""
        self._thread.shutdown(wait=True)
        out, uri = self._results.out, self._uri
        if self.problem:
            print(
                f"warning: MLflow at {uri} could not be used ({self.problem}). All results are in {out}; log them "
                f"later with: python scripts/log_results.py --out {out} --tracking-uri {uri}"
            )
        elif uri.startswith("sqlite"):
            print(f"MLflow: mlflow ui --backend-store-uri {uri}   (experiment {self._experiment})")
        else:
            print(f"MLflow: {uri}   (experiment {self._experiment})")

    def _later(self, work: Callable[..., None], *arguments: Any) -> None:
        self._thread.submit(self._try, work, *arguments)

    def _try(self, work: Callable[..., None], *arguments: Any) -> None:
        if self.problem:
            return
        try:
            work(*arguments)
        except Exception as error:  # whatever a store can raise: it must never cost a result
            self.problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"

    def _connect(self) -> None:
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)

    def _open_sweep(self) -> None:
        if self._parent_id:
            return
        self._experiment_id = self._experiment_named(self._experiment)
        tags = {"cropkt.kind": "sweep", "cropkt.results": self._card["id"]}
        found = self._search(self._experiment_id, " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in tags))
        if found:
            self._parent_id = found[0].info.run_id
            self._client.update_run(self._parent_id, status="RUNNING")
            return
        name = f"transfer {self._results.encoder} {self._results.architecture}"
        self._parent_id = self._client.create_run(self._experiment_id, tags=tags, run_name=name).info.run_id
        for key, value in self._card["settings"].items():
            self._client.log_param(self._parent_id, key, value)

    def _experiment_named(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        # A local store keeps its artifacts beside the results, not in whatever folder the script was started from.
        local = (self._results.out / "mlflow-artifacts" / name).as_uri() if self._uri.startswith("sqlite") else None
        return self._client.create_experiment(name, artifact_location=local)

    def _search(self, experiment_id: str, condition: str) -> list[Any]:
        page = self._client.search_runs([experiment_id], condition, max_results=1000)
        found = list(page)
        while page.token:
            page = self._client.search_runs([experiment_id], condition, max_results=1000, page_token=page.token)
            found += page
        return found

    def _log_pairs(self, target: str | None) -> None:
        """Log the records of `target` (None: of all targets) whose fingerprint has not been logged."""
        condition = f"tags.`mlflow.parentRunId` = '{self._parent_id}'"
        condition += f" and params.target = '{target}'" if target else ""
        logged: dict[tuple[str, str], list[Any]] = {}
        for run in self._search(self._experiment_id, condition):
            logged.setdefault((run.data.params["source"], run.data.params["target"]), []).append(run)
        compared: dict[tuple[str, str], dict[str, Any]] = {}
        for record in self._records(target):
            pair = record.pair
            key = (pair.source, pair.target)
            if key not in compared:
                compared |= self._comparisons(pair.target)
            fingerprint = digest(record.fingerprint, pair.status, pair.reason, compared.get(key))
            known = logged.get(key, [])
            if any(run.data.tags.get("cropkt.fingerprint") == fingerprint for run in known):
                continue
            for run in known:
                self._client.delete_run(run.info.run_id)
            self._log_pair({**compared.get(key, {}), **vars(pair)}, fingerprint)

    def _records(self, target: str | None = None) -> list[PairRecord]:
        """Records of pairs that are in no list of stale ones; baselines are rows of the tables, and each pair's
        comparisons with them are its metrics."""
        stale = self._results.stale()
        return [
            record
            for record in self._results.records(target)
            if record.pair.source not in BASELINES and (record.pair.source, record.pair.target) not in stale
        ]

    def _comparisons(self, target: str) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        comparison = read_comparison(self._results, target)
        for row in comparison.pairs if comparison else ():
            measures = {f"difference_{row.against}": row.difference, f"p_{row.against}": row.p_value}
            found.setdefault((row.source, row.target), {}).update(measures)
        return found

    def _log_pair(self, pair: dict[str, Any], fingerprint: str) -> None:
        from mlflow.entities import Metric, Param

        tags = {
            "mlflow.parentRunId": self._parent_id,
            "cropkt.kind": "pair",
            "cropkt.fingerprint": fingerprint,
            "cropkt.status": f"failed: {pair['reason']}" if pair["reason"] else str(pair["status"]),
        }
        run = self._client.create_run(
            self._experiment_id, tags=tags, run_name=f"{pair['source']} on {pair['target']}"
        ).info.run_id
        now = int(time.time() * 1000)
        compared = [name for name in pair if name.startswith(("difference_", "p_")) and name not in _PAIR_METRICS]
        names = [name for name in (*_PAIR_METRICS, *compared) if _is_number(pair.get(name))]
        metrics = [Metric(name, float(pair[name]), now, 0) for name in names]
        self._client.log_batch(run, metrics, [Param(name, str(pair[name])) for name in _PAIR_PARAMETERS])
        predictions = self._results.predictions_path(pair["source"], pair["target"])
        if predictions.exists():
            self._client.log_artifact(run, str(predictions))
        failed = pair["status"] == Status.FAILED
        self._client.set_terminated(run, "FAILED" if failed else "FINISHED")

    def _log_sources(self) -> None:
        """One run a source cohort, in an experiment of its own: loss curves by fold, checkpoints and cards."""
        experiment_id = self._experiment_named(f"{self._experiment} sources")
        identity = self._card["id"]
        condition = f"tags.`cropkt.results` = '{identity}'"
        logged = {run.data.tags.get("cropkt.fingerprint") for run in self._search(experiment_id, condition)}
        for cohort in self._results.models.cohorts():
            of_path = {path: read_source_card(path) for path in self._results.models.of(cohort)}
            paths = [path for path, card in of_path.items() if card is not None]
            cards = [card for card in of_path.values() if card is not None]
            fingerprint = " ".join(card.fingerprint for card in cards)
            if cards and fingerprint not in logged:
                tags = {
                    "cropkt.kind": "source",
                    "cropkt.results": identity,
                    "cropkt.fingerprint": fingerprint,
                }
                self._log_source(experiment_id, cards, paths, tags)

    def _log_source(self, experiment_id: str, cards: list[SourceCard], paths: list[Path], tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param

        run = self._client.create_run(experiment_id, tags=tags, run_name=f"source {cards[0].cohort}").info.run_id
        now = int(time.time() * 1000)
        metrics = []
        for card in cards:
            epochs = card.training.epochs
            per_epoch = max(1, len(card.losses) // epochs)
            for epoch in range(epochs):
                part = card.losses[epoch * per_epoch : (epoch + 1) * per_epoch]
                metrics.append(Metric(f"loss_fold_{card.fold}", sum(part) / len(part), now, epoch))
            if card.test_c_index is not None:
                metrics.append(Metric(f"test_c_index_fold_{card.fold}", card.test_c_index, now, 0))
        first = cards[0]
        settings = {"cohort": first.cohort, "encoder": first.encoder, **asdict(first.training)}
        settings |= {"architecture": first.architecture.name, "seed": first.seed}
        parameters = [Param(name, str(value)) for name, value in settings.items()]
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(run, metrics[start : start + 1000], parameters if start == 0 else [])
        for path in paths:
            self._client.log_artifact(run, str(path), "checkpoints")
            self._client.log_artifact(run, str(card_path(path)), "checkpoints")
        self._client.set_terminated(run)

    def _close_sweep(self) -> None:
        from mlflow.entities import Metric

        for name in _FILES:
            if (self._results.out / name).exists():
                self._client.log_artifact(self._parent_id, str(self._results.out / name))
        records = self._records()
        now = int(time.time() * 1000)
        metrics = [Metric("pairs", float(len(records)), now, 0)]
        for mode in ("self", "transfer"):
            values = [record.pair.c_index_mean for record in records if record.pair.mode == mode]
            values = [value for value in values if _is_number(value)]
            if values:
                metrics.append(Metric(f"mean_c_index_{mode}", sum(values) / len(values), now, 0))
        self._client.log_batch(self._parent_id, metrics)
        self._client.set_terminated(self._parent_id)


def tracking_uri(out: Path, asked: str | None) -> str:
    """Where to log: what was asked for, else MLFLOW_TRACKING_URI, else an SQLite file in the results folder."""
    return asked or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out}/mlflow.db"


@contextmanager
def tracking(
    results: ResultsFolder,
    experiment: str,
    *,
    uri: str | None = None,
    settings: Mapping[str, str] | None = None,
    wanted: bool = True,
) -> Iterator[Tracker | None]:
    """A tracker of `results`, None when it is not `wanted`; at the end of the block all that was asked is logged."""
    if not wanted:
        yield None
        return
    card = _card(results, experiment, settings or {})
    tracker = Tracker(results, tracking_uri(results.out, uri), card)
    try:
        yield tracker
    except BaseException:
        tracker.stop()
        raise
    tracker.finish()


def log_analysis(
    results: ResultsFolder,
    kind: str,
    *,
    name: str,
    study: str,
    experiment: str | None,
    uri: str | None,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    histories: Mapping[str, Sequence[float]] | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Log one run of an analysis beside its sweep, tagged with the sweep's run; returns what went wrong, else "".

    The experiment is `experiment`, else the sweep's, else named after the study. `histories` are metrics with a value a
    step. Numbers that are not finite are left out.
    """
    from mlflow.entities import Metric, Param

    tracker_uri = tracking_uri(results.out, uri)
    card = read_json(tracking_card_path(results)) or {}
    now = int(time.time() * 1000)
    logged = [Metric(key, float(value), now, 0) for key, value in metrics.items() if _is_number(value)]
    for key, values in (histories or {}).items():
        logged += [Metric(key, float(value), now, step) for step, value in enumerate(values) if _is_number(value)]
    try:
        for key, value in IMPATIENT.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=tracker_uri)
        title = experiment or card.get("experiment") or study
        found = client.get_experiment_by_name(title)
        local = (results.out / "mlflow-artifacts" / title).as_uri() if tracker_uri.startswith("sqlite") else None
        number = found.experiment_id if found else client.create_experiment(title, artifact_location=local)
        tags = {"cropkt.kind": kind}
        if "id" in card:
            tags["cropkt.results"] = card["id"]
            of_sweep = f"tags.`cropkt.kind` = 'sweep' and tags.`cropkt.results` = '{card['id']}'"
            if sweeps := client.search_runs([number], of_sweep, max_results=1):
                tags["cropkt.sweep_run"] = sweeps[0].info.run_id
        run = client.create_run(number, tags=tags, run_name=name).info.run_id
        texts = [Param(key, str(value)[:6000]) for key, value in parameters.items()]
        for start in range(0, max(len(logged), 1), 900):
            client.log_batch(run, logged[start : start + 900], texts[:100] if start == 0 else [])
        for path in files:
            client.log_artifact(run, str(path))
        client.set_terminated(run)
    except Exception as error:  # whatever a store can raise: it must never cost a result
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    return ""


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
        known = read_json(tracking_card_path(results)) or {"experiment": out.name}
        with workspace(results), tracking(results, experiment or known["experiment"], uri=uri) as tracker:
            assert tracker is not None
            if tracker.has_pairs():
                tracker.log_sweep()
            tracker.log_sources()
        problem |= bool(tracker.problem)
    return SOME_FAILED if problem else DONE


def _card(results: ResultsFolder, experiment: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Who these results are to MLflow; made once, so that they may be logged later, and from another place."""
    known = read_json(tracking_card_path(results)) or {"id": uuid.uuid4().hex, "settings": {}}
    card = {"id": known["id"], "experiment": experiment, "settings": dict(settings) or known["settings"]}
    if card != known:
        write_json(tracking_card_path(results), card)
    return card


def tracking_card_path(results: ResultsFolder) -> Path:
    """Where it is kept what identifies these results in MLflow, and with which settings they were made."""
    return results.out / "tracking" / results.encoder / f"{results.architecture}.json"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
