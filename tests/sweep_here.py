"""The sweep command in this process: all of it but Ray and the pictures. What Ray's workers do is done in turn."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from cropkt.experiments.cluster import Cluster, Workers
from cropkt.experiments.commands import main
from cropkt.experiments.run import Run
from cropkt.experiments.sources.worker import TrainingJob, train_job
from cropkt.experiments.tune import OnEnd, Trial
from cropkt.training.sources import SourcePlan
from cropkt.transfer.assemble import update_comparison


@dataclass(frozen=True)
class Said:
    """How the command ended, and what it said."""

    code: int
    out: str
    err: str


def _train(_plan: SourcePlan, schedule: list[list[TrainingJob]], *_where: object) -> None:
    held: dict[str, Any] = {}
    for job in (job for jobs in schedule for job in jobs):
        train_job(_plan, job, held)


def _measure(kind: type[Trial], job: Any, points: Sequence[Any], *_where: object, on_end: OnEnd) -> None:
    trial = kind.__new__(kind)
    trial.setup({"point": points[0]}, job)
    for point in points:
        trial.reset_config({"point": point})
        on_end(point, trial.step(), "")


def _compare_now(run: Run, target: str) -> object:
    update_comparison(run.results, target, run.cohorts[target].folds, run.fingerprint, run.repeats())
    return object()


_RAY = SimpleNamespace(
    put=lambda job: job,
    wait=lambda waiting, timeout: (waiting, []),  # noqa: ARG005
    get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "0" * 56),
)
_COMPARE = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=_compare_now))


def sweep_here(study: Path, out: Path, *flags: str) -> Said:
    """`cropkt sweep` of `study` into `out`, on the CPU, two epochs, without MLflow."""
    return _run("sweep", study, out, *flags)


def route_here(study: Path, out: Path, *flags: str) -> Said:
    """`cropkt route`, likewise, without searches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cropkt.experiments.routing.driver.measure_missing_means", lambda *_: None)
        patch.setattr("cropkt.experiments.routing.conclude._draw", lambda *_: None)
        patch.setattr("cropkt.experiments.routing.conclude._report", lambda *_: out / "report.html")
        return _run("route", study, out, "--trials", "0", *flags)


def _run(command: str, study: Path, out: Path, *flags: str) -> Said:
    settings = ["--epochs", "2", "--learning-rate", "0.01", "--device", "cpu", "--no-tracking"]
    said, warned = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(warned):
        patch.setattr(Cluster, "workers", lambda *_: Workers(1, 1, 0))
        patch.setattr("cropkt.experiments.sources.trainer._fit", _train)
        patch.setattr("cropkt.experiments.tune.run_trials", _measure)
        patch.setattr("cropkt.experiments.sweep.follow.ray", _RAY)
        patch.setattr("cropkt.experiments.sweep.follow._compare", _COMPARE)
        patch.setattr("cropkt.report.page.draw_report", lambda *_, **__: None)
        code = main([command, "--study", str(study), "--out", str(out), *settings, *flags])
    return Said(code, said.getvalue(), warned.getvalue())


def tables(out: Path) -> dict[str, str]:
    """The tables of a sweep as text, every digit of them; without the time that measuring took."""
    found = {}
    for name in ("transfer", "pairs", "source_choice"):
        table = pd.read_parquet(out / f"{name}.parquet")
        found[name] = table.drop(columns="seconds", errors="ignore").to_json(double_precision=15, orient="records")
    return found | {path.name: path.read_text() for path in sorted(out.glob("*.csv"))}
