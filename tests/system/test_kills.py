"""Processes are killed at work, and what comes out equals what an undisturbed run finds, with nothing done twice."""

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from processes import Script, descendants, kill_worker, run, wait_until
from small_sweeps import COHORTS, MODELS, PAIRS, Undisturbed, logged, records, sweep_arguments

from cropkt.transfer import rows

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

TUNE_WORKERS = ("ray::PairTrial", "ray::ResourceTrainable")
"""What Ray calls a worker between trials and at work on one."""
_AGAINST_BASELINES = [column.name for column in rows.PAIRS.further() if not column.name.endswith(("_chance", "_self"))]


def with_models(undisturbed: Undisturbed, out: Path) -> Path:
    """A results folder that has the source models and no pair."""
    shutil.copytree(undisturbed.out / "models", out / "models")
    return out


def assert_same_results(out: Path, undisturbed: Undisturbed) -> None:
    for name in ("transfer", "pairs"):
        found, expected = (
            pd.read_parquet(folder / f"{name}.parquet").query("mode in ['self', 'transfer']").reset_index(drop=True)
            for folder in (out, undisturbed.out)
        )
        measured = [column for column in found if column != "seconds" and column not in _AGAINST_BASELINES]
        pd.testing.assert_frame_equal(found[measured], expected[measured], check_exact=True)
    for path in (undisturbed.out / "predictions").rglob("*.parquet"):
        if path.stem in COHORTS:  # the others are baselines
            found, expected = pd.read_parquet(out / path.relative_to(undisturbed.out)), pd.read_parquet(path)
            pd.testing.assert_series_equal(found["risk"], expected["risk"], check_exact=True)


def test_a_killed_driver_leaves_nobody_behind_and_the_next_run_finishes(
    undisturbed: Undisturbed, study: Path, tmp_path: Path
) -> None:
    out = with_models(undisturbed, tmp_path / "out")
    arguments = [*sweep_arguments(study, out), "--no-baselines", "--workers", 1]
    script = Script("sweep_transfer.py", *arguments)
    wait_until(lambda: len(records(out)) >= 2, script)
    started = descendants(script.process.pid)
    assert any("raylet" in title for title in started.values())
    assert script.kill().code == -signal.SIGKILL
    done = records(out)
    assert 2 <= len(done) < PAIRS, "killed too late to show anything"
    # Ray's two agents notice after a minute that they are alone; whatever works or holds memory goes at once.
    working = [pid for pid, title in started.items() if "Agent" not in title]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in working))
    done = records(out)
    assert len(done) < PAIRS

    ended = run("sweep_transfer.py", *arguments)
    assert (ended.code, ended.err) == (0, "")
    after = records(out)
    assert len(after) == PAIRS
    assert {path: after[path] for path in done} == done
    assert not (out / "ray").exists()
    assert_same_results(out, undisturbed)
    kinds = [entry.data.tags["cropkt.kind"] for entry in logged(out)]
    assert (kinds.count("sweep"), kinds.count("pair")) == (1, PAIRS)


def test_workers_and_a_node_that_die_in_a_sweep_cost_nothing(
    undisturbed: Undisturbed, study: Path, mortal_cluster: "Cluster", tmp_path: Path
) -> None:
    out, cluster = with_models(undisturbed, tmp_path / "out"), mortal_cluster
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    arguments = ["--no-baselines", "--no-tracking", "--ray-address", cluster.address, "--workers", 3]
    script = Script("sweep_transfer.py", *sweep_arguments(study, out), *arguments)
    wait_until(lambda: len(records(out)) >= 2, script)
    kill_worker(TUNE_WORKERS, os.getpid())
    assert len(records(out)) < PAIRS, "killed too late to show anything"
    cluster.remove_node(node, allow_graceful=False)
    ended = script.end()
    assert ended.code == 0, ended
    assert_same_results(out, undisturbed)


def test_interrupted_training_goes_on_and_a_dead_worker_is_replaced(
    undisturbed: Undisturbed, study: Path, cluster: "Cluster", tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [*sweep_arguments(study, out), "--no-tracking", "--ray-address", cluster.address]

    def begun() -> list[Path]:
        return list((out / MODELS).glob("*/attempts.json"))

    script = Script("train_sources.py", *arguments)
    wait_until(begun, script)
    interrupted = script.kill(signal.SIGINT)
    assert interrupted.code == 130, interrupted
    assert "run the same command again" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert len(list((out / MODELS).glob("*/fold_*.json"))) < 3 * len(COHORTS), "stopped too late to show anything"
    for path in begun():
        path.unlink()

    script = Script("train_sources.py", *arguments)
    wait_until(begun, script)
    kill_worker(("ray::RayTrainWorker",), os.getpid())
    ended = script.end()
    assert ended.code == 0, ended
    assert all(f"{cohort}" in ended.out for cohort in COHORTS)
    assert "failed" not in ended.out
    paths = sorted((undisturbed.out / MODELS).rglob("*.safetensors"))
    assert len(paths) == 3 * len(COHORTS) + 1
    for path in paths:
        assert (out / path.relative_to(undisturbed.out)).read_bytes() == path.read_bytes(), path


@pytest.fixture(autouse=True)
def _undisturbed_first(undisturbed: Undisturbed) -> None:
    assert undisturbed.ended.code == 0, undisturbed.ended
