"""`cropkt sweep --pan-cancer`: one more source for every target, which all other cohorts have trained together."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy, small_plan, write_study
from sweep_here import sweep_here, tables

from cropkt.data.bags import read_bags
from cropkt.data.persons import person_digest
from cropkt.data.study import open_study
from cropkt.experiments.cluster import Cluster, Workers
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import ClusterConfig
from cropkt.experiments.sources import trainer
from cropkt.experiments.sources.worker import CohortJob
from cropkt.models.checkpoint import load_model
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.training.pan_cancer_models import load_pan_cancer
from cropkt.transfer.pair import hold_target

CODES = ("acc", "meso", "uvm")
FLAGS = ("--pan-cancer", "--no-baselines")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallStudy, Path]:
    """A study, and a sweep of it with pan-cancer networks."""
    folder = tmp_path_factory.mktemp("pan_cancer")
    study = write_study(folder / "study", *CODES, patients=24)
    said = sweep_here(study.folder, folder / "out", "--pan-cancer")
    assert said.code == DONE, said.err
    assert "pan-cancer networks: mean C-index" in said.out
    return study, folder / "out"


def copied(study: SmallStudy, out: Path, folder: Path) -> tuple[SmallStudy, Path]:
    """Study and results somewhere else, to be changed."""
    shutil.copytree(study.folder, folder / "study")
    shutil.copytree(out, folder / "out")
    return SmallStudy(folder / "study"), folder / "out"


def networks(out: Path, target: str) -> list[Path]:
    found = sorted(out.glob(f"models/*/abmil/pan_cancer/without-{target}/network_*.safetensors"))
    assert len(found) == 2
    return found


def fingerprints(out: Path) -> dict[str, str]:
    """Of each target's row."""
    paths = {target: next(out.glob(f"pairs/*/abmil/{target}/pan_cancer.json")) for target in CODES}
    return {target: json.loads(path.read_text())["fingerprint"] for target, path in paths.items()}


def weights(out: Path, target: str) -> list[bytes]:
    return [path.read_bytes() for path in networks(out, target)]


def test_it_is_a_row_of_the_tables_with_a_verdict_for_every_target(swept: tuple[SmallStudy, Path]) -> None:
    _, out = swept
    pairs = pd.read_parquet(out / "pairs.parquet")
    rows = pairs[pairs["source"] == "pan_cancer"].set_index("target")
    assert set(rows.index) == set(CODES)
    assert (rows["mode"] == "pan_cancer").all()
    assert (
        rows[["c_index_pooled", "interval_lower", "difference_self", "difference_mean_cox", "q_chance"]]
        .notna()
        .all(axis=None)
    )
    assert rows["verdict"].notna().all()
    of_pairs = pairs[pairs["mode"] == "transfer"]
    assert of_pairs["verdict"].notna().all()
    matrix = pd.read_csv(out / "transfer_matrix.csv", index_col=0)
    assert matrix.index[-1] == "pan_cancer"
    for target in CODES:
        assert matrix.loc["pan_cancer", target] == pytest.approx(rows.loc[target, "c_index_mean"], abs=1e-6)
    folds = pd.read_parquet(out / "transfer.parquet")
    assert set(folds[folds["source"] == "pan_cancer"]["source_fold"]) == {0, 1}


def test_its_c_index_is_that_of_the_stored_networks(swept: tuple[SmallStudy, Path]) -> None:
    study, out = swept
    cohort = open_study(study.folder).cohorts["uvm"]
    held = hold_target(cohort, read_bags(cohort))
    risk = predict([load_model(path) for path in networks(out, "uvm")], held.bags).risk
    expected = [concordance(held.time, held.event, one) for one in risk]
    found = pd.read_parquet(out / "pairs.parquet").set_index(["source", "target"]).loc[("pan_cancer", "uvm")]
    assert found["n_patients"] == len(held.bags)
    assert found["c_index_pooled"] == pytest.approx(np.mean([one.c_index for one in expected]), abs=1e-6)


def test_each_network_names_the_patients_that_trained_it(swept: tuple[SmallStudy, Path]) -> None:
    """may_score leaves them out, as those of a source model."""
    study, out = swept
    cohorts = open_study(study.folder).cohorts
    plan = small_plan(networks(out, "uvm")[0].parents[2])
    first, second = load_pan_cancer(plan, networks(out, "uvm")).seen
    assert not set(first) & set(second)
    assert {*first, *second} == {person_digest(one) for code in ("acc", "meso") for one in cohorts[code].labels.index}


def test_nothing_is_made_again_and_other_rows_do_not_change(swept: tuple[SmallStudy, Path], tmp_path: Path) -> None:
    study, out = swept
    before, content = {target: weights(out, target) for target in CODES}, tables(out)
    when = [path.stat().st_mtime_ns for target in CODES for path in networks(out, target)]
    assert sweep_here(study.folder, out, "--pan-cancer").code == DONE
    assert [path.stat().st_mtime_ns for target in CODES for path in networks(out, target)] == when
    assert tables(out) == content
    assert sweep_here(study.folder, tmp_path / "without").code == DONE
    alone = pd.read_parquet(tmp_path / "without" / "pairs.parquet").drop(columns="seconds")
    both = pd.read_parquet(out / "pairs.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(both[both["source"] != "pan_cancer"].reset_index(drop=True), alone)
    assert {target: weights(out, target) for target in CODES} == before


def test_no_patient_of_a_target_trains_the_networks_that_it_is_measured_with(
    swept: tuple[SmallStudy, Path], tmp_path: Path
) -> None:
    """Other outcomes and other features of acc: its own networks stay as they are, those of the others do not."""
    _, out = swept
    other = write_study(tmp_path / "study", *CODES, patients=24)
    rows = other.rows("acc")
    for row in rows[1:]:
        row[2] = str(10 + 3 * float(row[2]) ** 0.5)
    other.write_rows("acc", rows)
    for path in open_study(other.folder).cohorts["acc"].slides["path"]:
        with h5py.File(path, "r+") as file:
            file["features"][...] = 5 - file["features"][...]
    assert sweep_here(other.folder, tmp_path / "out", *FLAGS).code == DONE
    assert weights(tmp_path / "out", "acc") == weights(out, "acc")
    assert weights(tmp_path / "out", "uvm") != weights(out, "uvm")


def test_a_cohort_that_changes_makes_the_networks_of_the_others_again(
    swept: tuple[SmallStudy, Path], tmp_path: Path
) -> None:
    study, out = copied(*swept, tmp_path)
    before = {target: weights(out, target) for target in CODES}
    records = fingerprints(out)
    rows = study.rows("acc")
    slides = Counter(row[0] for row in rows)
    line = next(number for number, row in enumerate(rows[1:], 2) if slides[row[0]] == 1)
    study.set_cell("acc", line, "e", "0" if rows[line - 1][3] == "1" else "1")
    assert sweep_here(study.folder, out, *FLAGS).code == DONE
    assert weights(out, "acc") == before["acc"]
    assert weights(out, "uvm") != before["uvm"]
    assert all(fingerprints(out)[target] != records[target] for target in CODES)


def test_networks_that_cannot_be_trained_are_told_and_stop_no_pair(
    small_study: Callable[..., SmallStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = small_study(*CODES, patients=24), tmp_path / "out"

    def dies(*_: object, **__: object) -> None:
        raise RuntimeError("no room on the device")

    with monkeypatch.context() as patch:
        patch.setattr("cropkt.training.pan_cancer_models.train_pan_cancer", dies)
        said = sweep_here(study.folder, out, *FLAGS)
    assert said.code == SOME_FAILED
    assert "pan_cancer on acc" in said.out
    assert "no room on the device" in said.out
    pairs = pd.read_parquet(out / "pairs.parquet")
    assert (pairs[pairs["mode"] == "transfer"]["status"] == "ok").all()
    assert (pairs[pairs["mode"] == "pan_cancer"]["status"] == "failed").all()
    assert sweep_here(study.folder, out, *FLAGS).code == DONE
    assert (pd.read_parquet(out / "pairs.parquet")["status"] == "ok").all()


def test_a_run_of_fewer_sources_leaves_the_rows_as_they_are(swept: tuple[SmallStudy, Path]) -> None:
    """All cohorts of the study train the networks, whatever --sources says."""
    study, out = swept
    before = pd.read_parquet(out / "pairs.parquet")
    assert sweep_here(study.folder, out, "--sources", "acc,meso").code == DONE
    after = pd.read_parquet(out / "pairs.parquet")
    columns = ["source", "target", "c_index_pooled", "verdict"]
    networks_of = [table[table["mode"] == "pan_cancer"][columns].reset_index(drop=True) for table in (before, after)]
    pd.testing.assert_frame_equal(*networks_of)
    assert len(networks_of[1]) == len(CODES)
    when = [path.stat().st_mtime_ns for target in CODES for path in networks(out, target)]
    assert sweep_here(study.folder, out, "--sources", "acc", "--targets", "uvm", "--pan-cancer").code == DONE
    assert [path.stat().st_mtime_ns for target in CODES for path in networks(out, target)] == when


def test_rows_of_another_architecture_go_when_any_cohort_changes(
    swept: tuple[SmallStudy, Path], tmp_path: Path
) -> None:
    study, out = copied(*swept, tmp_path)
    rows = study.rows("acc")
    study.write_rows("acc", [rows[0], *([*row[:2], str(float(row[2]) + 1), *row[3:]] for row in rows[1:])])
    assert sweep_here(study.folder, out, "--no-baselines", "--architecture", "mean").code == DONE
    pairs = pd.read_parquet(out / "pairs.parquet")
    assert pairs[pairs["mode"] == "pan_cancer"].empty, "acc had trained those of the others"
    assert ("abmil", "uvm", "meso") in set(zip(pairs["architecture"], pairs["source"], pairs["target"], strict=True))


def test_a_cohort_without_a_slide_costs_no_other_target_its_networks(
    small_study: Callable[..., SmallStudy], tmp_path: Path
) -> None:
    study, out = small_study(*CODES, patients=24), tmp_path / "out"
    for path in open_study(study.folder).cohorts["acc"].slides["path"]:
        with h5py.File(path, "r+") as file:
            file["features"][...] = np.nan
    said = sweep_here(study.folder, out, *FLAGS, "--precision", "bfloat16")
    assert said.code == SOME_FAILED  # acc itself
    assert "pan-cancer networks without uvm: trained without acc, none of whose slides can be used" in said.out
    pairs = pd.read_parquet(out / "pairs.parquet").query("mode == 'pan_cancer'").set_index("target")["status"]
    assert pairs[["uvm", "meso"]].tolist() == ["ok", "ok"]
    assert pairs["acc"] == "failed"


@pytest.mark.parametrize(("codes", "told"), [(("acc",), "no cohort can train"), (("acc", "uvm"), "have 0 events")])
def test_without_anybody_to_learn_from_the_reason_is_told(
    small_study: Callable[..., SmallStudy], tmp_path: Path, codes: tuple[str, ...], told: str
) -> None:
    study = small_study(*codes)
    if "uvm" in codes:
        for line in range(2, len(study.rows("uvm")) + 1):
            study.set_cell("uvm", line, "e", "0")
    said = sweep_here(study.folder, tmp_path / "out", *FLAGS, "--targets", "acc")
    assert said.code == SOME_FAILED
    assert told in said.out


def test_where_thinned_cohorts_are_more_than_a_workers_memory_fewer_work(
    small_study: Callable[..., SmallStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    counts = []
    monkeypatch.setattr(trainer, "_fit", lambda _plan, _schedule, workers, _scratch: counts.append(workers.count))
    cluster = Cluster(ClusterConfig("cpu"))
    monkeypatch.setattr(cluster, "workers", lambda _jobs: Workers(4, 1, 0))
    for memory in (None, 100, 50, 30):
        plan = replace(small_plan(tmp_path / "models"), memory=memory)
        jobs = [CohortJob(cohort, (0,))]
        failed = trainer.train_jobs(plan, jobs, cluster, tmp_path, title="training", unit="models", bytes_each=100)
        assert failed == {"acc": "its worker died"}
    assert counts == [4, 4, 2, 1]
