"""The one door to MLflow: experiments, runs that are logged whole or not at all, and one line for what goes wrong.

A run can be cut short: a server is killed, or answers too late. So the last thing a run gets is the tag WHOLE; a run
without it is half logged, and whoever logs the same thing again removes it.
"""

import hashlib
import json
import math
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from cropkt.errors import ConfigError, InputError
from cropkt.files import atomic_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

WHOLE = "cropkt.whole"
"""The tag of a run that has everything it should have."""
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
"""Environment for MLflow: its own patience with a server that is down is minutes."""
BATCH = 900
"""Metrics a request may hold (MLflow: 1000)."""
PARAMETERS = 100
"""Parameters a request may hold, and a run of ours has at most."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow takes an experiment for one about language models, and shows an empty page about traces."""
REFERENCES = "files.json"
"""The artifact that names the files in the results folder that a run is about, with the digest of each."""
SERVED = "mlflow-artifacts:/"
"""How a store names artifacts without saying where they lie: whoever starts the server says it."""
LONGEST = 6000
"""Characters of a parameter (MLflow's own limit)."""


@dataclass(frozen=True)
class Entry:
    """A run to log. `tags` identify it; a history is a metric with a value per step.

    files: small ones, for which MLflow keeps a copy. references: large ones, of which it keeps path and digest.
    datasets: cohorts (name, role, what is known of it). model: (id, dataset) that the metrics are about.
    """

    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    files: Sequence[Path] = ()
    references: Sequence[Path] = ()
    datasets: Sequence["Dataset"] = ()
    model: "EvaluatedModel | None" = None
    failed: bool = False


@dataclass(frozen=True)
class Dataset:
    """A cohort as an input of a run. context: "training" or "evaluation"; facts: patients, events, slides."""

    name: str
    digest: str
    context: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluatedModel:
    """The logged model that a run's metrics are about, and the dataset (one of the run's) it was evaluated on."""

    id: str
    dataset: Dataset


class Store:
    """The MLflow store at `uri`. The artifacts of an SQLite file lie beside it, in mlflow-artifacts/, and no path of
    this machine is in it: copied together they are whole anywhere.

    Every method raises whatever MLflow raises; `reason` makes one line of it.
    """

    def __init__(self, uri: str, out: Path) -> None:
        self.uri = uri
        self._out = out
        # At once: Ray Tune may import MLflow, which reads some of it only then.
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)

    @cached_property
    def client(self) -> "MlflowClient":
        """Made on first use: importing MLflow takes seconds."""
        from mlflow import MlflowClient

        if self.database is not None and self.database.resolve().parent == self._out.resolve():
            _hurry(self.database)
        return MlflowClient(tracking_uri=self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment, which is made if need be. Raises ConfigError when it has been deleted."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = SERVED + quote(name) if self.local else None
            made = self.client.create_experiment(name, artifact_location=place, tags=EXPERIMENT_TAGS)
            return str(made)
        if found.lifecycle_stage == "deleted":
            raise ConfigError(
                f"experiment {name!r} has been deleted; restore it (MLFLOW_TRACKING_URI={self.uri} mlflow experiments "
                f"restore --experiment-id {found.experiment_id}), or name another one with --experiment"
            )
        return str(found.experiment_id)

    @property
    def database(self) -> Path | None:
        """The SQLite file; None where the store is a server."""
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    @property
    def local(self) -> Path | None:
        """The folder of the SQLite file; None where the store is a server."""
        return None if self.database is None else self.database.parent

    def runs(self, experiment_id: str, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, the newest first."""
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        page = self.client.search_runs([experiment_id], condition, max_results=1000)
        found = list(page)
        while page.token:
            page = self.client.search_runs([experiment_id], condition, max_results=1000, page_token=page.token)
            found += page
        return found

    def log(self, experiment_id: str, entry: Entry) -> str:
        """Log a run whole; returns its id. Numbers that are not finite are left out."""
        from mlflow.entities import Param

        run = self.client.create_run(experiment_id, tags=dict(entry.tags), run_name=entry.name).info
        metrics = _metrics(entry, run.run_id)
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in entry.parameters.items()][:PARAMETERS]
        if entry.datasets or entry.model:
            self._log_inputs(run.run_id, entry)
        for start in range(0, max(len(metrics), 1), BATCH):
            self.client.log_batch(run.run_id, metrics[start : start + BATCH], parameters if start == 0 else [])
        for path in entry.files:
            self.put(run, path)
        if entry.references:
            self._refer(run, entry.references)
        self.client.set_terminated(run.run_id, "FAILED" if entry.failed else "FINISHED")
        self.client.set_tag(run.run_id, WHOLE, "true")
        return str(run.run_id)

    def put(self, run: Any, path: Path) -> None:
        """Keep a copy of the file as an artifact of the run (its `info`)."""
        if self.local is None or not run.artifact_uri.startswith(SERVED):
            self.client.log_artifact(run.run_id, str(path))
            return
        folder = self.local / "mlflow-artifacts" / unquote(run.artifact_uri.removeprefix(SERVED))
        with atomic_path(folder / path.name, durable=False) as temporary:
            shutil.copyfile(path, temporary)

    def _refer(self, run: Any, paths: Sequence[Path]) -> None:
        """Keep path (below the results folder) and digest of files that are large, or that hold patients."""
        lines = {path.relative_to(self._out).as_posix(): sha256(path) for path in paths}
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / REFERENCES
            listed.write_text(json.dumps(lines, indent=1))
            self.put(run, listed)

    def _log_inputs(self, run: str, entry: Entry) -> None:
        from mlflow.entities import Dataset as Logged
        from mlflow.entities import DatasetInput, InputTag, LoggedModelInput

        inputs = [
            DatasetInput(
                Logged(one.name, one.digest, "local", json.dumps({"uri": one.name}), profile=json.dumps(one.facts)),
                [InputTag("mlflow.data.context", one.context)],
            )
            for one in entry.datasets
        ]
        models = [LoggedModelInput(entry.model.id)] if entry.model else None
        self.client.log_inputs(run, datasets=inputs, models=models)

    def delete(self, runs: Sequence[Any]) -> None:
        """Delete runs."""
        for run in runs:
            self.client.delete_run(run.info.run_id)

    def delete_halves(self, runs: Sequence[Any]) -> list[Any]:
        """Delete those of `runs` that are half logged; returns the others."""
        self.delete([run for run in runs if not is_whole(run)])
        return [run for run in runs if is_whole(run)]


@cache
def _hurry(database: Path) -> None:
    """Let nobody wait for the disk at each of some thousand commits to this SQLite file: two thirds of the time.

    A process that dies loses nothing by it; a power failure may. The file mirrors the results folder beside it, and
    `cropkt log` makes it anew. Asked for once per file and process, as what listens is never taken away.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def not_waiting(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            files = {Path(name) for _, _, name in connection.execute("PRAGMA database_list") if name}
            if database.resolve() in {name.resolve() for name in files}:
                connection.execute("PRAGMA synchronous = OFF")


def _metrics(entry: Entry, run: str) -> list[Any]:
    """MLflow's metrics of an entry; those of a model carry it and its dataset. Numbers that are not finite are left
    out."""
    from mlflow.entities import Metric

    now, of = int(time.time() * 1000), {}
    if entry.model is not None:
        data = entry.model.dataset
        of = {"model_id": entry.model.id, "dataset_name": data.name, "dataset_digest": data.digest, "run_id": run}
    once = [Metric(name, float(value), now, 0, **of) for name, value in entry.metrics.items() if is_number(value)]
    return once + [
        Metric(name, float(value), now, step)
        for name, values in entry.histories.items()
        for step, value in enumerate(values)
        if is_number(value)
    ]


def sha256(path: Path) -> str:
    """The digest of the file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_whole(run: Any) -> bool:
    """Has the run everything it should have?"""
    return WHOLE in run.data.tags


def is_number(value: Any) -> bool:
    """Can MLflow keep it as a metric?"""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, InputError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:400]}"


def page(uri: str, experiment_id: str) -> tuple[str, str]:
    """(command that starts MLflow's page, or "" for a server; address of the table of runs, best pair first)."""
    query = urlencode(
        {"workflowType": "machine_learning", "orderByKey": "metrics.`c_index_pooled`", "orderByAsc": "false"}
    )
    there = f"/#/experiments/{experiment_id}/runs?{query}"
    if not uri.startswith("sqlite:///"):
        return "", uri.rstrip("/") + there
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts"
    # One worker: of several that start at once on a busy machine, MLflow kills those that are not up within seconds.
    command = f"mlflow server --workers 1 --backend-store-uri {uri} --artifacts-destination {artifacts}"
    return command, f"http://127.0.0.1:5000{there}"


def tracking_uri(out: Path, asked: str | None) -> str:
    """Where to log: what was asked for, else MLFLOW_TRACKING_URI, else an SQLite file in the results folder."""
    return asked or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out}/mlflow.db"
