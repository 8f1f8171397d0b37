"""MLflow mirrors a results folder: one parent, one child a pair, nothing twice, and never at the cost of a result."""

import getpass
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kept_artifacts import artifact_folder, artifacts, references
from mlflow import MlflowClient
from small_studies import SmallStudy, small_architecture, small_plan

from cropkt.data.study import open_study
from cropkt.errors import ConfigError
from cropkt.experiments.config import TrackingConfig
from cropkt.experiments.journal import git_commit
from cropkt.experiments.tracking.analysis import Analysis, log_analysis
from cropkt.experiments.tracking.card import CohortCounts, keep_card
from cropkt.experiments.tracking.store import REFERENCES, WHOLE, Store, page, sha256, tracking_uri
from cropkt.experiments.tracking.sweep import ATTEMPTS, Tracker, log_results, tracking
from cropkt.files import write_json
from cropkt.models.mil import build_model
from cropkt.training.cards import SourceCard, save_with_card
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import store_null_model, train_cohort
from cropkt.transfer.pair import PairResult
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.rows import PAIRS, PREDICTIONS, PairRow
from cropkt.transfer.significance import Comparison
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair

SEARCH = 'params.target = "acc"'
ROOT = Path(__file__).resolve().parents[3]


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
    folder.models.path.mkdir(parents=True)
    sources = ("acc", "uvm", "kipan", "random")
    pairs = [(source, target) for target in ("acc", "uvm") for source in sources]
    for number, (source, target) in enumerate(pairs):
        measured(folder, source, target, 0.5 + number / 100)
    store_failure(folder, "kipan", "uvm", "its worker died")
    comparison = vars(Comparison("uvm", "acc", "random", difference=0.03, p_value=0.2, repeats=1, smallest=0.1))
    nothing: dict[str, Any] = {"repeats": "", "choice": [], "gains": [], "own": []}
    write_json(folder.comparison_path("acc"), {"fingerprint": "today's", "pairs": [comparison], **nothing})
    return folder


def measured(folder: ResultsFolder, source: str, target: str, c_index: float, fingerprint: str = "today's") -> None:
    numbers = {"c_index_mean": c_index, "c_index_pooled": c_index, "n_patients": 12, "n_events": 6, "n_comparable": 30}
    mode = mode_of(source, target)
    pair = PairRow(source, target, folder.encoder, folder.architecture, mode, **numbers, skipped_slides=0)
    predictions = PREDICTIONS.filled(pd.DataFrame({"patient_id": ["a"], "risk": [1.0]}))
    result = PairResult((), pair, predictions, None)
    store_pair(folder, result, fingerprint=fingerprint, patients=["a"], seconds=0.5)


def log(results: ResultsFolder, uri: str, **settings: str) -> Any:
    with tracking(results, "study", TrackingConfig(uri=uri), settings=settings) as tracker:
        assert tracker is not None
        tracker.log_sweep()
    return tracker


def runs(uri: str, condition: str = "", **options: Any) -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], condition, **options))


def test_one_parent_and_a_child_for_each_pair(results: ResultsFolder, store: str) -> None:
    (results.out / "transfer.parquet").write_bytes(b"table")
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
    assert artifacts(store, parent) == {"transfer.parquet"}


def test_a_target_is_found_and_its_best_source_is_first(results: ResultsFolder, store: str) -> None:
    log(results, store)
    found = runs(store, SEARCH, order_by=["metrics.c_index_pooled DESC"])
    assert [run.data.params["source"] for run in found] == ["kipan", "uvm", "acc"]
    best, second, own = found
    assert best.data.metrics["c_index_pooled"] == pytest.approx(0.52)
    assert best.data.metrics["n_events"] == 6
    assert best.data.metrics["seconds"] == 0.5
    assert "standard_error" not in best.data.metrics  # unknown is not a number
    assert set(best.data.params) == {"source", "target", "encoder", "architecture", "mode"}
    known = {"c_index_mean", "c_index_pooled", "n_patients", "n_events", "n_comparable", "skipped_slides", "seconds"}
    assert set(best.data.metrics) == known <= set(PAIRS.numbers), "every column of a pair that is a known number"
    assert second.data.metrics["difference_random"] == 0.03
    assert second.data.metrics["p_random"] == 0.2
    assert own.data.params["mode"] == "self"
    assert list(references(store, best)) == ["predictions/uni2-h/abmil/acc/kipan.parquet"]


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


def asked(results: ResultsFolder, uri: str) -> bool:
    """Log everything; whether the store was asked anything."""
    with tracking(results, "study", TrackingConfig(uri=uri)) as tracker:
        assert tracker is not None
        tracker.log_sweep()
        tracker.log_sources()
    return "client" in vars(tracker._store)


def test_a_file_that_has_everything_is_not_asked_again_until_something_changes(
    results: ResultsFolder, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log(results, store)
    capsys.readouterr()
    assert asked(results, store), "sources have not been logged"
    said = capsys.readouterr().out
    before = {run.info.run_id for run in runs(store)}
    assert not asked(results, store)
    assert capsys.readouterr().out == said, "where to look is said again"
    measured(results, "kipan", "uvm", 0.7, "tomorrow's")
    assert asked(results, store), "a record is new, though no table is"
    assert len({run.info.run_id for run in runs(store)} - before) == 1
    assert not asked(results, store)
    MlflowClient(store).delete_run(runs(store, "params.source = 'kipan' and params.target = 'uvm'")[0].info.run_id)
    assert asked(results, store), "somebody has been at the file"
    assert len(runs(store)) == len(before)
    Path(store.removeprefix("sqlite:///")).unlink()
    assert asked(results, store), "the file is gone"
    assert len(runs(store)) == len(before)


def test_commits_wait_for_the_disk_unless_the_file_lies_with_the_results(tmp_path: Path) -> None:
    waits = {}
    for place in ("out", "elsewhere"):
        (tmp_path / place).mkdir()
        store = Store(f"sqlite:///{tmp_path}/{place}/mlflow.db", tmp_path / "out")
        store.experiment("study")
        with store.client._tracking_client.store.engine.connect() as connection:
            waits[place] = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    assert waits == {"out": 0, "elsewhere": 2}


def test_a_target_is_logged_as_soon_as_it_is_complete(results: ResultsFolder, store: str) -> None:
    with tracking(results, "study", TrackingConfig(uri=store)) as tracker:
        assert tracker is not None
        tracker.log_target("acc")
    assert {run.data.params.get("target") for run in runs(store)} == {"acc", None}
    log(results, store)
    assert len(runs(store)) == 7


@pytest.fixture
def down() -> Iterator[tuple[str, list[int]]]:
    """The address of a server that hangs up on everybody, and a list that grows with every call."""
    calls: list[int] = []
    with socketserver.TCPServer(("127.0.0.1", 0), lambda *_: calls.append(1)) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", calls
        server.shutdown()


def test_a_store_that_is_down_is_named_and_can_be_caught_up(
    results: ResultsFolder, store: str, down: tuple[str, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    uri, calls = down
    tracker = log(results, uri, seed="3")
    assert 1 <= len(calls) <= 2 * ATTEMPTS, "once again in each attempt; MLflow itself would ask for minutes"
    assert "could not be used" in (said := capsys.readouterr().out)
    assert f"cropkt log --out {results.out} --tracking-uri {uri}" in said
    assert tracker.problem
    assert log_results(results.out, uri=uri) == 1
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
    plan = small_plan(results.models.path)
    store_null_model(plan)
    train_cohort(plan, cohort, [0, 2])
    for _ in range(2):
        with tracking(results, "study", TrackingConfig(uri=store)) as tracker:
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
    assert artifacts(store, run) == {REFERENCES}, "no second copy of weights"
    known = references(store, run)
    assert {Path(name).name for name in known} == {
        "fold_0.safetensors",
        "fold_0.json",
        "fold_2.safetensors",
        "fold_2.json",
    }
    assert all(sha256(results.out / name) == digest for name, digest in known.items())


def test_a_run_that_breaks_off_does_not_wait_for_its_log(
    results: ResultsFolder, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whole = Store.experiment

    def experiment(self: Store, name: str) -> str:
        asked.append(name)
        return whole(self, name)

    monkeypatch.setattr(Store, "experiment", experiment)

    def break_off(tracker: Tracker | None) -> None:
        assert tracker is not None
        for _ in range(1000):
            tracker.log_target("acc")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracking(results, "study", TrackingConfig(uri=store)) as tracker:
        break_off(tracker)
    assert len(asked) < 500


def log_until_killed(at: str, out: Path, uri: str) -> None:
    """Log the results; at the first call of `at`, this process is killed."""

    def killed(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Store if at == "put" else MlflowClient, at, killed)
    log_results(out, uri=uri)


@pytest.mark.parametrize("at", ["log_param", "log_batch", "put", "set_terminated", "set_tag"])
def test_a_log_that_was_killed_at_any_point_is_caught_up(results: ResultsFolder, store: str, at: str) -> None:
    keep_card(results, "study", {"seed": "3"}, {})
    # A fork has MLflow imported already, which takes seconds.
    logging = get_context("fork").Process(target=log_until_killed, args=(at, results.out, store))
    logging.start()
    logging.join(120)
    assert logging.exitcode == -signal.SIGKILL
    left = runs(store)
    assert left
    assert not any(WHOLE in run.data.tags for run in left)
    assert log_results(results.out, uri=store) == 0
    found = runs(store)
    (parent,) = [run for run in found if run.data.tags["cropkt.kind"] == "sweep"]
    assert parent.data.params == {"seed": "3"}
    children = [run for run in found if run is not parent]
    assert len(children) == 6
    assert all(WHOLE in run.data.tags and run.data.params["source"] for run in children)
    assert not {run.info.run_id for run in children} & {run.info.run_id for run in left}


def test_a_source_or_an_analysis_that_is_half_logged_is_logged_again(results: ResultsFolder, store: str) -> None:
    log(results, store)
    card = keep_card(results, "study", {}, {})
    client = MlflowClient(store)
    experiment_id = client.get_experiment_by_name("study").experiment_id
    tags = {"cropkt.kind": "routing", "cropkt.results": card.id}
    halves = [client.create_run(experiment_id, tags=tags, run_name=name) for name in ("router for acc", "another")]
    entry = Analysis("routing", "router for acc", {"target": "acc"}, {"c_index": 0.6, "unknown": float("nan")})
    assert log_analysis(results, "study", TrackingConfig(uri=store), entry) == ""
    found = runs(store, "tags.`cropkt.kind` = 'routing'")
    assert {run.info.run_name for run in found} == {"router for acc", "another"}
    assert halves[0].info.run_id not in {run.info.run_id for run in found}
    (whole,) = [run for run in found if WHOLE in run.data.tags]
    assert whole.data.metrics == {"c_index": 0.6}
    assert whole.data.tags["cropkt.sweep_run"] == runs(store, "tags.`cropkt.kind` = 'sweep'")[0].info.run_id


def test_a_deleted_experiment_is_named_with_its_two_ways_out(
    results: ResultsFolder, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log(results, store)
    client = MlflowClient(store)
    experiment_id = client.get_experiment_by_name("study").experiment_id
    client.delete_experiment(experiment_id)
    tracker = log(results, store)
    assert "experiment 'study' has been deleted; restore it" in tracker.problem
    assert f"mlflow experiments restore --experiment-id {experiment_id}" in tracker.problem
    assert "--experiment" in tracker.problem
    assert "could not be used (experiment 'study' has been deleted" in capsys.readouterr().out
    assert log_results(results.out, uri=store) == 1
    entry = Analysis("routing", "router for acc", {}, {})
    assert "has been deleted" in log_analysis(results, "study", TrackingConfig(uri=store), entry)
    assert log_results(results.out, "another", uri=store) == 0
    client.restore_experiment(experiment_id)
    assert log(results, store).problem == ""
    assert len(runs(store)) == 7


SERVER = """
import sys, time
from pathlib import Path
from mlflow.server import app
from werkzeug.serving import make_server

asked, slow = Path(sys.argv[1]), int(sys.argv[2])

def answer(environment, start):
    number = len(asked.read_text().splitlines()) + 1
    with asked.open("a") as stream:
        print(environment["PATH_INFO"], file=stream)
    if number == slow:
        time.sleep(6)
    return app(environment, start)

asked.touch()
server = make_server("127.0.0.1", 0, answer, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def slow_server(
    request: pytest.FixtureRequest, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """MLflow's own application over the store, a process on 127.0.0.1 which answers one request (its number is the
    fixture's parameter) only after the client, who waits for four seconds, has left."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    served = {"_MLFLOW_SERVER_FILE_STORE": store, "_MLFLOW_SERVER_ARTIFACT_ROOT": str(tmp_path / "artifacts")}
    command = [sys.executable, "-c", SERVER, str(tmp_path / "asked"), str(request.param)]
    with subprocess.Popen(
        command, env=os.environ | served, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@pytest.mark.system
@pytest.mark.parametrize("slow_server", [3, 6], indirect=True)
def test_one_slow_answer_switches_nothing_off(results: ResultsFolder, store: str, slow_server: str) -> None:
    with tracking(results, "study", TrackingConfig(uri=slow_server)) as tracker:
        assert tracker is not None
        tracker.log_target("acc")
        while not tracker.problem:
            time.sleep(0.01)
        assert "timed out" in tracker.problem
        while len(runs(store, "tags.`cropkt.target` = 'uvm' and tags.`cropkt.whole` = 'true'")) < 3:
            tracker.log_target("uvm")  # again and again: on a busy machine any answer may be slow
            time.sleep(0.5)
        assert tracker.problem  # a pair of acc is still missing
        tracker.log_sweep()
    assert tracker.problem == ""
    # A busy server may have made the run of the request that timed out after all: the next log removes such halves.
    until = time.monotonic() + 60
    while log_results(results.out, uri=store) == 0 and len(runs(store)) > 7 and time.monotonic() < until:
        time.sleep(0.5)
    found = runs(store)
    assert len(found) == 7
    assert sum(WHOLE in run.data.tags for run in found) == 6


@pytest.mark.system
@pytest.mark.parametrize("slow_server", [9], indirect=True)
def test_a_slow_answer_at_the_end_is_asked_for_again(
    results: ResultsFolder, store: str, slow_server: str, tmp_path: Path
) -> None:
    with tracking(results, "study", TrackingConfig(uri=slow_server)) as tracker:
        assert tracker is not None
        tracker.log_sweep()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert sum(path.endswith("get-by-name") for path in asked) == 2, "the first answer came in time"
    assert tracker.problem == ""
    found = runs(store)
    assert len(found) == 7
    assert sum(WHOLE in run.data.tags for run in found) == 6


def test_a_sweep_whose_run_was_made_twice_is_one_again(results: ResultsFolder, store: str) -> None:
    tracker = log(results, store, seed="3")
    client = MlflowClient(store)
    experiment_id = client.get_experiment_by_name("study").experiment_id
    (first,) = runs(store, "tags.`cropkt.kind` = 'sweep'")
    tags = {name: first.data.tags[name] for name in ("cropkt.kind", "cropkt.results")}
    client.create_run(experiment_id, tags=tags, start_time=first.info.start_time - 1000)
    client.create_run(experiment_id, tags=tags)
    assert log(results, store, seed="3").problem == tracker.problem == ""
    assert [run.info.run_id for run in runs(store, "tags.`cropkt.kind` = 'sweep'")] == [first.info.run_id]
    assert len(runs(store)) == 7


def test_tracking_that_is_not_wanted_writes_nothing(results: ResultsFolder) -> None:
    before = sorted(results.out.rglob("*"))
    with tracking(results, "study", TrackingConfig(wanted=False)) as tracker:
        assert tracker is None
    assert sorted(results.out.rglob("*")) == before


def test_where_to_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(Path("/out"), "sqlite:///asked.db") == "sqlite:///asked.db"
    assert tracking_uri(Path("/out"), None) == "http://server:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(Path("/out"), None) == "sqlite:////out/mlflow.db"


COHORTS = {code: CohortCounts(f"{code}-1", patients=12, events=6, slides=16) for code in ("acc", "uvm", "kipan")}


@pytest.fixture
def trained(results: ResultsFolder) -> ResultsFolder:
    """The results, with a model of one fold a source."""
    for code in COHORTS:
        card = SourceCard(
            small_architecture(),
            TrainingConfig(epochs=1),
            seed=0,
            precision="float32",
            cohort=code,
            fold=0,
            encoder="uni2-h",
            data_fingerprint="",
            fingerprint=f"{code}'s",
            train_patients=(),
            validation_patients=(),
            test_c_index=0.5,
            test_comparable=1,
            skipped_slides=(),
            passing_slides=(),
            losses=(1.0,),
            learning_rates=(0.1,),
            versions={},
        )
        path = results.models.path / code / "fold_0.safetensors"
        save_with_card(path, build_model(small_architecture()), card)
    return results


def log_all(results: ResultsFolder, uri: str) -> Tracker:
    settings = {"seed": "3"}
    with tracking(results, "study", TrackingConfig(uri=uri), settings=settings, cohorts=COHORTS) as tracker:
        assert tracker is not None
        tracker.log_sweep()
        tracker.log_sources()
    return tracker


def test_the_matrix_is_searched_by_source_models_on_targets(trained: ResultsFolder, store: str) -> None:
    for _ in range(2):
        assert log_all(trained, store).problem == ""
    client = MlflowClient(store)
    experiment_id = client.get_experiment_by_name("study").experiment_id
    assert {model.name for model in client.search_logged_models([experiment_id])} == set(COHORTS)
    on_acc = client.search_logged_models(
        [experiment_id],
        "metrics.c_index_pooled >= 0.51",
        datasets=[{"dataset_name": "acc"}],
        order_by=[{"field_name": "metrics.c_index_pooled", "dataset_name": "acc", "ascending": False}],
    )
    assert [model.name for model in on_acc] == ["kipan", "uvm"]
    (run,) = runs(store, "params.source = 'kipan' and params.target = 'acc'")
    inputs = {
        (data.dataset.name, data.dataset.digest, data.tags[0].value): json.loads(data.dataset.profile)
        for data in run.inputs.dataset_inputs
    }
    facts = {"patients": 12, "events": 6, "slides": 16}
    assert inputs == {("kipan", "kipan-1", "training"): facts, ("acc", "acc-1", "evaluation"): facts}


def test_verdict_q_commit_and_user_are_tags(trained: ResultsFolder, store: str) -> None:
    row = {"source": "uvm", "target": "acc", "encoder": "uni2-h", "architecture": "abmil", "mode": "transfer"}
    table = pd.DataFrame([row | {"verdict": "transfers", "q_chance": 0.01234}])
    table.to_parquet(trained.out / "pairs.parquet")
    log_all(trained, store)
    (run,) = runs(store, "tags.verdict = 'transfers'")
    assert (run.data.params["source"], run.data.params["target"]) == ("uvm", "acc")
    assert run.data.tags["q"] == "0.0123"
    assert runs(store, "metrics.q_chance < 0.05")[0].info.run_id == run.info.run_id
    assert run.data.tags["mlflow.user"] == getpass.getuser()
    assert run.data.tags["mlflow.source.name"] == "cropkt"
    assert run.data.tags.get("mlflow.source.git.commit") == git_commit()
    table.assign(verdict="not shown", q_chance=0.5).to_parquet(trained.out / "pairs.parquet")
    log_all(trained, store)
    assert not runs(store, "tags.verdict = 'transfers'")
    assert runs(store, "tags.verdict = 'not shown'")[0].data.tags["q"] == "0.5"


@pytest.mark.system
def test_a_copied_folder_keeps_its_artifacts_and_holds_no_path_of_this_machine(
    trained: ResultsFolder, empty_store: Path, tmp_path: Path
) -> None:
    """MLflow's own server, started on the copy, hands out what was logged on the original."""
    picture = trained.out / "routing.png"
    picture.write_bytes(b"picture")
    shutil.copy(empty_store, trained.out / "mlflow.db")
    log_all(trained, f"sqlite:///{trained.out}/mlflow.db")
    entry = Analysis(
        "routing", "router for acc", {"target": "acc"}, {"c_index": 0.6, "unknown": float("nan")}, files=[picture]
    )
    assert log_analysis(trained, "study", TrackingConfig(uri=f"sqlite:///{trained.out}/mlflow.db"), entry) == ""
    copied = tmp_path / "elsewhere"
    shutil.copytree(trained.out, copied)
    shutil.rmtree(trained.out)
    assert str(tmp_path).encode() not in (copied / "mlflow.db").read_bytes()
    uri = f"sqlite:///{copied}/mlflow.db"
    (run,) = runs(uri, "tags.`cropkt.kind` = 'routing'")
    assert (artifact_folder(uri, run) / "routing.png").read_bytes() == b"picture"
    served = {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(copied / "mlflow-artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    command = [sys.executable, "-c", SERVER, str(tmp_path / "asked"), "0"]
    with subprocess.Popen(command, env=os.environ | served, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        client = MlflowClient(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        got = client.download_artifacts(run.info.run_id, "routing.png", str(tmp_path))
        process.kill()
    assert Path(got).read_bytes() == b"picture"


def test_the_whole_store_is_made_again_from_a_copied_folder(
    trained: ResultsFolder, empty_store: Path, store: str, tmp_path: Path
) -> None:
    log_all(trained, store)
    entry = Analysis("factors", "factors uni2-h abmil", {"seed": 1}, {"x": 0.5}, {"curve": [0.1, float("nan")]})
    assert log_analysis(trained, "study", TrackingConfig(uri=store), entry) == ""
    copied, again = tmp_path / "elsewhere", f"sqlite:///{tmp_path}/again.db"
    shutil.copytree(trained.out, copied)
    shutil.copy(empty_store, tmp_path / "again.db")
    for _ in range(2):
        assert log_results(copied, uri=again) == 0

    def shown(uri: str) -> list[Any]:
        left_out = ("cropkt.sweep_run", "mlflow.parentRunId")
        return sorted(
            (
                run.info.run_name,
                run.info.status,
                sorted(run.data.params.items()),
                sorted(run.data.metrics.items()),
                sorted((name, value) for name, value in run.data.tags.items() if name not in left_out),
            )
            for run in runs(uri)
        )

    assert shown(again) == shown(store)
    assert len(shown(again)) == 8


def test_the_address_opens_the_table_of_runs_and_not_the_page_about_language_models() -> None:
    command, address = page("sqlite:////data/out/mlflow.db", "3")
    assert command == (
        "mlflow server --workers 1 --backend-store-uri sqlite:////data/out/mlflow.db "
        "--artifacts-destination /data/out/mlflow-artifacts"
    )
    assert address.startswith("http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning&")
    assert page("http://server:5000/", "3")[1].startswith("http://server:5000/#/experiments/3/runs?")
