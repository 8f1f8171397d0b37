"""MLflow mirrors a results folder: one parent, one child a pair, nothing twice, and never at the cost of a result."""

import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from small_studies import SmallStudy, small_plan

from cropkt.data.study import open_study
from cropkt.errors import ConfigError
from cropkt.experiments.tracking import Tracker, log_results, tracking, tracking_uri
from cropkt.files import write_json
from cropkt.training.sources import store_null_model, train_cohort
from cropkt.transfer.pair import PairResult
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.results import ResultsFolder, store_failure, store_pair

SEARCH = 'params.target = "acc"'


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store that is set up, which takes MLflow seconds, and empty."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    """Three sources on two targets and a baseline, with C-indices 0.50, 0.51, ...; one pair has failed."""
    folder = ResultsFolder(tmp_path / "out", "uni2-h", "abmil")
    folder.models.mkdir(parents=True)
    sources = ("acc", "uvm", "kipan", "random")
    pairs = [(source, target) for target in ("acc", "uvm") for source in sources]
    for number, (source, target) in enumerate(pairs):
        measured(folder, source, target, 0.5 + number / 100)
    store_failure(folder, "kipan", "uvm", "its worker died")
    comparison = {"source": "uvm", "target": "acc", "difference_random": 0.03, "p_random": 0.2, "p_size": None}
    write_json(folder.comparison_path("acc"), {"pairs": [comparison], "choice": []})
    return folder


def measured(folder: ResultsFolder, source: str, target: str, c_index: float, fingerprint: str = "today's") -> None:
    pair = {"source": source, "target": target, "encoder": folder.encoder, "architecture": folder.architecture}
    pair |= {"mode": mode_of(source, target), "c_index_mean": c_index, "c_index_pooled": c_index, "status": "ok"}
    pair |= {"n_patients": 12, "n_events": 6, "n_comparable": 30, "standard_error": np.nan, "skipped_slides": 0}
    predictions = pd.DataFrame({"patient_id": ["a"], "risk": [1.0]})
    result = PairResult([], pair, predictions, None)
    store_pair(folder, result, fingerprint=fingerprint, patients=["a"], seconds=0.5)


def log(results: ResultsFolder, uri: str, **settings: str) -> Any:
    with tracking(results, "study", uri=uri, settings=settings) as tracker:
        assert tracker is not None
        tracker.log_sweep()
    return tracker


def runs(uri: str, condition: str = "", **options: Any) -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], condition, **options))


def test_one_parent_and_a_child_for_each_pair(results: ResultsFolder, store: str) -> None:
    (results.out / "pairs.parquet").write_bytes(b"table")
    assert log(results, store, seed="3", study="small").problem == ""
    (parent,) = runs(store, "tags.`cropkt.kind` = 'sweep'")
    children = runs(store, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    pairs = {(run.data.params["source"], run.data.params["target"]) for run in children}
    assert len(children) == 6
    assert pairs == {(s, t) for s in ("acc", "uvm", "kipan") for t in ("acc", "uvm")}
    assert parent.data.params == {"seed": "3", "study": "small"}
    assert parent.data.metrics["pairs"] == 6
    assert parent.data.metrics["mean_c_index_self"] == pytest.approx((0.50 + 0.55) / 2)
    assert parent.info.status == "FINISHED"
    artifacts = [file.path for file in MlflowClient(store).list_artifacts(parent.info.run_id)]
    assert artifacts == ["pairs.parquet"]


def test_a_target_is_found_and_its_best_source_is_first(results: ResultsFolder, store: str) -> None:
    log(results, store)
    found = runs(store, SEARCH, order_by=["metrics.c_index_pooled DESC"])
    assert [run.data.params["source"] for run in found] == ["kipan", "uvm", "acc"]
    best, second, own = found
    assert best.data.metrics["c_index_pooled"] == pytest.approx(0.52)
    assert best.data.metrics["n_events"] == 6
    assert best.data.metrics["seconds"] == 0.5
    assert "standard_error" not in best.data.metrics  # unknown is not a number
    assert second.data.metrics["difference_random"] == 0.03
    assert second.data.metrics["p_random"] == 0.2
    assert own.data.params["mode"] == "self"
    assert [file.path for file in MlflowClient(store).list_artifacts(best.info.run_id)] == ["kipan.parquet"]


def test_a_failed_pair_is_a_failed_run(results: ResultsFolder, store: str) -> None:
    log(results, store)
    (failed,) = runs(store, "attributes.status = 'FAILED'")
    assert (failed.data.params["source"], failed.data.params["target"]) == ("kipan", "uvm")
    assert failed.data.tags["cropkt.status"] == "failed: its worker died"


def test_nothing_is_logged_twice_and_what_changed_replaces_what_was(results: ResultsFolder, store: str) -> None:
    log(results, store)
    before = {run.info.run_id for run in runs(store)}
    log(results, store)
    assert {run.info.run_id for run in runs(store)} == before
    measured(results, "kipan", "uvm", 0.7, "tomorrow's")
    log(results, store)
    after = {run.info.run_id for run in runs(store)}
    assert len(after) == len(before) == 7
    assert len(after - before) == 1
    (found,) = runs(store, "params.source = 'kipan' and params.target = 'uvm'")
    assert found.data.metrics["c_index_pooled"] == pytest.approx(0.7)
    assert found.info.status == "FINISHED"


def test_a_target_is_logged_as_soon_as_it_is_complete(results: ResultsFolder, store: str) -> None:
    with tracking(results, "study", uri=store) as tracker:
        assert tracker is not None
        tracker.log_target("acc")
    assert {run.data.params.get("target") for run in runs(store)} == {"acc", None}
    log(results, store)
    assert len(runs(store)) == 7


class Deaf(socketserver.BaseRequestHandler):
    """Hangs up on everybody, and counts them."""

    calls = 0

    def handle(self) -> None:
        type(self).calls += 1


@pytest.fixture
def down() -> Iterator[str]:
    """The address of a server that answers nobody."""
    Deaf.calls = 0
    with socketserver.TCPServer(("127.0.0.1", 0), Deaf) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_store_that_is_down_is_asked_twice_at_most_and_can_be_caught_up(
    results: ResultsFolder, store: str, down: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = log(results, down, seed="3")
    assert 1 <= Deaf.calls <= 2, "MLflow itself would ask for minutes"
    assert "could not be used" in (said := capsys.readouterr().out)
    assert f"python scripts/log_results.py --out {results.out} --tracking-uri {down}" in said
    assert tracker.problem
    assert log_results(results.out, uri=down) == 1
    assert log_results(results.out, uri=store) == 0
    assert len(runs(store)) == 7  # in the experiment and with the settings of the sweep that could not log
    assert runs(store, "tags.`cropkt.kind` = 'sweep'")[0].data.params == {"seed": "3"}


def test_a_folder_that_has_moved_is_still_the_same_sweep(results: ResultsFolder, store: str) -> None:
    log(results, store)
    before = {run.info.run_id for run in runs(store)}
    moved = results.out.with_name("moved")
    results.out.rename(moved)
    assert log_results(moved, uri=store) == 0
    assert {run.info.run_id for run in runs(store)} == before


def test_a_folder_without_results_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no results here"):
        log_results(tmp_path / "nothing")


def test_sources_are_logged_with_loss_curves_and_checkpoints(
    small_study: Callable[..., SmallStudy], store: str, tmp_path: Path
) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    results = ResultsFolder(tmp_path / "out", "uni2-h", "abmil")
    plan = small_plan(results.models)
    store_null_model(plan)
    train_cohort(plan, cohort, [0, 2])
    for _ in range(2):
        with tracking(results, "study", uri=store) as tracker:
            assert tracker is not None
            tracker.log_sources()
    assert tracker.problem == ""
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("study sources")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["cohort"] == "acc"
    assert run.data.params["seed"] == "7"
    curve = client.get_metric_history(run.info.run_id, "loss_fold_2")
    assert [point.step for point in curve] == [0, 1, 2]
    assert curve[-1].value < curve[0].value
    names = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "checkpoints")}
    assert names == {"fold_0.safetensors", "fold_0.json", "fold_2.safetensors", "fold_2.json"}


def test_a_run_that_breaks_off_does_not_wait_for_its_log(
    results: ResultsFolder, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str | None] = []
    asked = threading.Event()

    def log_pairs(_tracker: Tracker, target: str | None) -> None:
        logged.append(target)
        asked.wait()

    def break_off(tracker: Any) -> None:
        for _ in range(1000):
            tracker.log_sweep()
        asked.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "_log_pairs", log_pairs)
    with pytest.raises(KeyboardInterrupt), tracking(results, "study", uri=store) as tracker:
        break_off(tracker)
    assert len(logged) < 100


def test_tracking_that_is_not_wanted_writes_nothing(results: ResultsFolder) -> None:
    before = sorted(results.out.rglob("*"))
    with tracking(results, "study", wanted=False) as tracker:
        assert tracker is None
    assert sorted(results.out.rglob("*")) == before


def test_where_to_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(Path("/out"), "sqlite:///asked.db") == "sqlite:///asked.db"
    assert tracking_uri(Path("/out"), None) == "http://server:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(Path("/out"), None) == "sqlite:////out/mlflow.db"
