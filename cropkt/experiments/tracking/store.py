"""The one door to MLflow: experiments, runs that are logged whole or not at all, and one line for what goes wrong.

A run can be cut short: a server is killed, or answers too late. So the last thing a run gets is the tag WHOLE; a run
without it is half logged, and whoever logs the same thing again removes it.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropkt.errors import ConfigError, InputError

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
LONGEST = 6000
"""Characters of a parameter (MLflow's own limit)."""


@dataclass(frozen=True)
class Entry:
    """A run to log. `tags` identify it; a history is a metric with a value per step; files go into a folder each."""

    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    files: Sequence[tuple[Path, str | None]] = ()
    failed: bool = False


class Store:
    """The MLflow store at `uri`. A local store keeps its artifacts under `out`, beside the results.

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

        return MlflowClient(tracking_uri=self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment, which is made if need be. Raises ConfigError when it has been deleted."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            # Not in whatever folder the command was started from.
            local = (self._out / "mlflow-artifacts" / name).as_uri() if self.uri.startswith("sqlite") else None
            return str(self.client.create_experiment(name, artifact_location=local))
        if found.lifecycle_stage == "deleted":
            raise ConfigError(
                f"experiment {name!r} has been deleted; restore it (MLFLOW_TRACKING_URI={self.uri} mlflow experiments "
                f"restore --experiment-id {found.experiment_id}), or name another one with --experiment"
            )
        return str(found.experiment_id)

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
        from mlflow.entities import Metric, Param

        run = self.client.create_run(experiment_id, tags=dict(entry.tags), run_name=entry.name).info.run_id
        now = int(time.time() * 1000)
        histories = {name: [value] for name, value in entry.metrics.items()} | dict(entry.histories)
        metrics = [
            Metric(name, float(value), now, step)
            for name, values in histories.items()
            for step, value in enumerate(values)
            if is_number(value)
        ]
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in entry.parameters.items()][:PARAMETERS]
        for start in range(0, max(len(metrics), 1), BATCH):
            self.client.log_batch(run, metrics[start : start + BATCH], parameters if start == 0 else [])
        for path, folder in entry.files:
            self.client.log_artifact(run, str(path), folder)
        self.client.set_terminated(run, "FAILED" if entry.failed else "FINISHED")
        self.client.set_tag(run, WHOLE, "true")
        return str(run)

    def delete(self, runs: Sequence[Any]) -> None:
        """Delete runs."""
        for run in runs:
            self.client.delete_run(run.info.run_id)

    def delete_halves(self, runs: Sequence[Any]) -> list[Any]:
        """Delete those of `runs` that are half logged; returns the others."""
        self.delete([run for run in runs if not is_whole(run)])
        return [run for run in runs if is_whole(run)]


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


def tracking_uri(out: Path, asked: str | None) -> str:
    """Where to log: what was asked for, else MLFLOW_TRACKING_URI, else an SQLite file in the results folder."""
    return asked or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out}/mlflow.db"
