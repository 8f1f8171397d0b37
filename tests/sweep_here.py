"""The sweep command in this process: all of it but Ray and the pictures. What Ray's workers do is done in turn."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cropkt.experiments.cluster import Cluster, Workers
from cropkt.experiments.commands import main
from cropkt.experiments.run import Run
from cropkt.experiments.sources.worker import CohortJob, train_job
from cropkt.experiments.sweep.trial import PairTrial
from cropkt.training.sources import SourcePlan


@dataclass(frozen=True)
class Said:
    """How the command ended, and what it said."""

    code: int
    out: str
    err: str


class _Follow:
    """Comparisons are made when the tables are written."""

    def __init__(self, *_given: object) -> None:
        pass

    def finish(self) -> None:
        pass


def _train(_plan: SourcePlan, schedule: list[list[CohortJob]], *_where: object) -> None:
    for job in (job for jobs in schedule for job in jobs):
        train_job(_plan, job)


def _measure(_trial: object, run: Run, points: Sequence[Any], *_where: object, on_end: object) -> None:  # noqa: ARG001
    trial = PairTrial.__new__(PairTrial)
    trial.setup({"point": points[0]}, run)
    for point in points:
        trial.reset_config({"point": point})
        trial.step()


def sweep_here(study: Path, out: Path, *flags: str) -> Said:
    """`cropkt sweep` of `study` into `out`, on the CPU, two epochs, without MLflow."""
    settings = ["--epochs", "2", "--learning-rate", "0.01", "--device", "cpu", "--no-tracking"]
    said, warned = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(warned):
        patch.setattr(Cluster, "workers", lambda *_: Workers(1, 1, 0))
        patch.setattr("cropkt.experiments.sources.driver._fit", _train)
        patch.setattr("cropkt.experiments.tune.run_trials", _measure)
        patch.setattr("cropkt.experiments.sweep.follow.Follow", _Follow)
        patch.setattr("cropkt.experiments.sweep.driver._draw", lambda *_: None)
        code = main(["sweep", "--study", str(study), "--out", str(out), *settings, *flags])
    return Said(code, said.getvalue(), warned.getvalue())


def tables(out: Path) -> dict[str, str]:
    """The tables of a sweep as text, every digit of them; without the time that measuring took."""
    found = {}
    for name in ("transfer", "pairs", "source_choice"):
        table = pd.read_parquet(out / f"{name}.parquet")
        found[name] = table.drop(columns="seconds", errors="ignore").to_json(double_precision=15, orient="records")
    return found | {path.name: path.read_text() for path in sorted(out.glob("*.csv"))}
