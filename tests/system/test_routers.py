"""Routers tuned by the script, on real Ray: killed and gone on with, the same comes out; and applied to slides."""

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kept_artifacts import artifacts, references
from mlflow import MlflowClient
from processes import Ended, Script, run, wait_until
from small_sweeps import COHORTS, MODELS, Undisturbed, sweep_arguments

from cropkt.data.study import open_study
from cropkt.routing.methods import METHODS
from cropkt.routing.refit import refit_on_folds
from cropkt.transfer.store import ResultsFolder

TARGET = "acc"
FOLDS = 3
TRIALS = 3
ROUTING = Path("routing") / "uni2-h" / "abmil" / TARGET


def arguments(study: Path, out: Path) -> list[str | Path | int | float]:
    return [*sweep_arguments(study, out), "--target", TARGET.upper(), "--trials", TRIALS, "--inner-folds", 2]


def searched(out: Path) -> list[dict]:
    """Every trial of every search that is on disk."""
    paths = sorted((out / ROUTING / "search").rglob("fold_*.json"))
    return [
        {**trial, "search": str(path.relative_to(out)), "seconds": None}
        for path in paths
        for trial in json.loads(path.read_text())["trials"]
    ]


@pytest.fixture(scope="module")
def swept(undisturbed: Undisturbed) -> Path:
    """A results folder with everything a router starts from."""
    assert undisturbed.ended.code == 0, undisturbed.ended
    return undisturbed.out


@pytest.fixture(scope="module")
def routed(swept: Path, study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Routers of one undisturbed run, and how it ended."""
    out = shutil.copytree(swept, tmp_path_factory.mktemp("routed") / "out")
    return out, run("tune_router.py", *arguments(study, out))


def test_a_router_comes_out_with_what_it_is_compared_with(routed: tuple[Path, Ended]) -> None:
    out, ended = routed
    assert (ended.code, ended.err) == (0, ""), ended
    table = pd.read_parquet(out / "routing.parquet").set_index("method")
    assert set(table.index) >= {*METHODS, "self", "honest", "oracle", "rank_average", "majority_vote", "fusion_tuned"}
    assert (table["folds"] == FOLDS).all()
    assert table["c_index_pooled"].between(0, 1).all()
    assert set(table.index[table["tuned"]]) == {"roupkt", "roupkt_source_head", "fusion_tuned"}
    assert all(name in ended.out for name in ("ROUPKT *", "own model", "best single source", "pooled [95 % interval]"))
    trials = searched(out)
    assert len(trials) == 2 * FOLDS * TRIALS
    assert [trial["values"] for trial in trials if trial["number"] == 0] == [{}] * (2 * FOLDS)
    gates = pd.read_parquet(out / "gates.parquet")
    assert gates.groupby("patient_id")["probability"].sum().tolist() == pytest.approx([1] * 12, abs=1e-5)
    assert set(gates["expert"]) == set(COHORTS)
    assert 'id="routing"' in (out / "report.html").read_text()
    for name in ("routing.png", "search_router.png", "search_fusion.png", "search_router.csv"):
        assert (out / ROUTING / name).exists()
    assert not (out / "ray").exists()


def test_the_run_is_in_mlflow_beside_its_sweep(routed: tuple[Path, Ended]) -> None:
    store = f"sqlite:///{routed[0]}/mlflow.db"
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], "tags.`cropkt.kind` = 'routing'")
    assert found.data.params["target"] == TARGET
    assert "cropkt.sweep_run" in found.data.tags
    assert np.isfinite(found.data.metrics["c_index_pooled/roupkt"])
    assert len(client.get_metric_history(found.info.run_id, "inner_c_index/router/fold_0")) >= 1
    assert artifacts(store, found) >= {"search_router.png", "routing.png"}
    assert {Path(name).name for name in references(store, found)} >= {"fold_0.safetensors", "report.html"}


def test_a_killed_search_goes_on_to_the_same_routers(
    routed: tuple[Path, Ended], swept: Path, study: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(swept, tmp_path / "out")
    script = Script("tune_router.py", *arguments(study, out), "--no-tracking")
    wait_until(lambda: len(searched(out)) >= 2, script)
    assert script.kill().code == -signal.SIGKILL
    done = searched(out)
    assert len(done) < 2 * FOLDS * TRIALS, "killed too late to show anything"
    ended = run("tune_router.py", *arguments(study, out), "--no-tracking")
    assert (ended.code, ended.err) == (0, ""), ended
    assert searched(out) == searched(routed[0])
    for fold in range(FOLDS):
        name = ROUTING / "router" / f"fold_{fold}.safetensors"
        assert (out / name).read_bytes() == (routed[0] / name).read_bytes()


def test_a_stored_router_says_of_its_test_patients_what_it_said(
    routed: tuple[Path, Ended], study: Path, tmp_path: Path
) -> None:
    out = routed[0]
    with open(study / "labels" / f"{TARGET}.csv", newline="") as stream:
        owner = [(row["patient_id"], row["pathology_id"]) for row in csv.DictReader(stream)]
    with open(tmp_path / "patients.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("patient_id", "slide"), *owner])
    features = study / "features" / f"TCGA-{TARGET.upper()}"
    for fold in range(FOLDS):
        model = out / ROUTING / "router" / f"fold_{fold}.safetensors"
        table = tmp_path / f"fold_{fold}.csv"
        given = ["--model", model, "--features", features, "--patients", tmp_path / "patients.csv", "--out", table]
        ended = run("predict.py", *given)
        assert (ended.code, ended.err) == (0, ""), ended
        applied = pd.read_csv(table).set_index("patient_id")
        said = pd.read_parquet(out / ROUTING / "predictions" / f"fold_{fold}.parquet")
        said = said[said["method"] == "roupkt"].set_index("patient_id")["risk"]
        assert len(said) == 4
        # Sources' vectors are kept in half precision for routing, and computed anew here.
        assert applied.loc[said.index, "risk"].to_numpy() == pytest.approx(said.to_numpy(), abs=0.02)
        years = applied.filter(like="survival_year")
        assert years.empty, "nobody was followed for a year, so nothing is said of one"
        assert {f"gate_{code}" for code in (TARGET, "uvm", "kipan")} <= set(applied)


def test_fitting_again_on_the_same_vectors_changes_nothing(routed: tuple[Path, Ended], study: Path) -> None:
    results = ResultsFolder(routed[0], "uni2-h", "abmil")
    found = refit_on_folds(open_study(study), results, TARGET, (0,))
    assert found["refitted"] == found["stored"]
    other = refit_on_folds(open_study(study), results, TARGET, (0, 1, 2))
    assert other["stored"] == found["stored"]
    assert np.isfinite(other["refitted"])


def test_wrong_input_is_one_message(study: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("top_kk: {choices: [1, 2]}")
    given = ["--study", study, "--out", tmp_path / "out", "--target", TARGET, "--space", f"router={space}"]
    ended = run("tune_router.py", *given)
    assert ended.code == 2
    assert "did you mean 'top_k'?" in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()
    ended = run("predict.py", "--model", tmp_path / "nothing", "--features", study)
    assert ended.code == 2
    assert "no feature file there" in ended.err


def test_models_of_sources_were_not_trained_again(routed: tuple[Path, Ended], swept: Path) -> None:
    for path in (swept / MODELS).rglob("*.json"):
        assert (routed[0] / path.relative_to(swept)).read_bytes() == path.read_bytes()
