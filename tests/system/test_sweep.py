"""Training and sweep by the scripts, on real Ray and real MLflow: what comes out, and that nothing is done twice."""

import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
from processes import run
from safetensors.numpy import load_file
from small_studies import write_study
from small_sweeps import COHORTS, MODELS, PAIRS, Undisturbed, logged, records, sweep_arguments

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster


def test_a_study_goes_in_and_the_matrix_comes_out(undisturbed: Undisturbed) -> None:
    out, ended = undisturbed.out, undisturbed.ended
    assert ended.code == 0, ended
    assert noise(ended.err) == []
    assert f"{PAIRS} of {PAIRS} pairs measured" in ended.out
    names = {path.name for path in out.iterdir()}
    assert "ray" not in names
    assert names >= {"transfer.parquet", "pairs.parquet", "source_choice.parquet", "transfer_matrix.csv"}
    assert names >= {"transfer_matrix.png", "report.html", "predictions", "representations", "models", "mlflow.db"}
    matrix = pd.read_csv(out / "transfer_matrix.csv", index_col=0)
    assert matrix.shape == (len(COHORTS), len(COHORTS))
    assert set(matrix) == set(COHORTS)
    folds = pd.read_parquet(out / "transfer.parquet")
    own = folds[folds["mode"] == "self"]
    assert (own["source_fold"] == own["target_fold"]).all()
    assert len(own) == 3 * len(COHORTS)
    assert len(folds[folds["mode"] == "transfer"]) == 9 * (PAIRS - len(COHORTS))
    pairs = pd.read_parquet(out / "pairs.parquet")
    assert pairs["mode"].value_counts()[["self", "transfer", "random", "chance"]].tolist() == [5, PAIRS - 5, 5, 5]
    assert (pairs["status"] != "failed").all()
    for kind, suffix in (("predictions", "parquet"), ("representations", "safetensors")):
        paths = [out / kind / "uni2-h" / "abmil" / t / f"{s}.{suffix}" for s in COHORTS for t in COHORTS]
        assert all(path.exists() for path in paths)


def noise(said: str) -> list[str]:
    """Lines that are not progress, which is a line a minute here: nothing of Ray's."""
    return [line for line in said.splitlines() if not re.match(r"(training sources|transfer): \d+/\d+ ", line)]


def test_mlflow_has_a_parent_and_a_child_a_pair_and_the_sources(undisturbed: Undisturbed) -> None:
    runs = logged(undisturbed.out)
    kinds = [run.data.tags["cropkt.kind"] for run in runs]
    assert (kinds.count("sweep"), kinds.count("pair")) == (1, PAIRS)
    assert {run.info.status for run in runs} == {"FINISHED"}
    sources = logged(undisturbed.out, "small sources")
    assert {run.data.params["cohort"] for run in sources} == set(COHORTS)
    assert len(sources) == len(COHORTS)


def test_the_same_command_again_does_nothing(undisturbed: Undisturbed, study: Path) -> None:
    before = records(undisturbed.out)
    pairs = (undisturbed.out / "pairs.parquet").read_bytes()
    ended = run("sweep_transfer.py", *sweep_arguments(study, undisturbed.out))
    assert (ended.code, ended.err) == (0, "")
    assert records(undisturbed.out) == before
    assert (undisturbed.out / "pairs.parquet").read_bytes() == pairs
    assert len(logged(undisturbed.out)) == PAIRS + 1


def test_failures_are_listed_and_stop_nobody_and_a_store_that_is_down_is_caught_up(
    cluster: "Cluster", tmp_path: Path
) -> None:
    broken = write_study(tmp_path / "study", "acc", "uvm", "kipan")
    for path in (broken.folder / "features" / "TCGA-ACC").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file["features"][...] = np.nan
    out, down = tmp_path / "out", "http://127.0.0.1:9"
    arguments = ["--ray-address", cluster.address, "--no-baselines", "--tracking-uri", down, "--folds", "0,2"]
    ended = run("sweep_transfer.py", *sweep_arguments(broken.folder, out), *arguments)
    assert ended.code == 1, ended
    assert "4 of 9 pairs measured" in ended.out
    assert "5 pairs failed" in ended.out
    assert "source acc could not be trained: NoBagError: acc: none of its 16 slides can be used" in ended.out
    pairs = pd.read_parquet(out / "pairs.parquet").set_index(["source", "target"])["status"]
    failed = {pair for pair, status in pairs.items() if status.startswith("failed")}
    assert failed == {pair for pair in pairs.index if "acc" in pair}
    assert (pairs.drop(list(failed)) == "ok").all()
    folds = pd.read_parquet(out / "transfer.parquet")
    assert set(folds["source_fold"]) == {0, 2}

    (command,) = re.findall(r"cropkt log (--out \S+) --tracking-uri \S+", ended.out)
    store = f"sqlite:///{out}/mlflow.db"
    later = run("log_results.py", *command.split(), "--tracking-uri", store)
    assert (later.code, later.err) == (0, "")
    assert len(logged(out)) == 9 + 1


def test_ten_faults_are_one_message_within_seconds(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "acc", "uvm", "kipan")
    study.set_cell("acc", 2, "t", "-3")
    study.set_cell("acc", 5, "t", "soon")
    study.set_cell("acc", 6, "e", "2")
    study.set_cell("uvm", 4, "pathology_id", "TCGA-UV-0404-01Z-00-DX9")
    study.features("UVM", "TCGA-UV-0005-01Z-00-DX1").unlink()
    study.write_slide("UVM", "TCGA-UV-0777-01Z-00-DX1", np.zeros((3, 6), np.float32))
    rows = study.rows("kipan")
    study.write_rows("kipan", [*rows, rows[3], [*rows[4][:2], "99999", *rows[4][3:]]])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = run("sweep_transfer.py", "--study", study.folder, "--out", tmp_path / "out")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # wall time where nothing else runs
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: study ")
    assert "Traceback" not in ended.err
    assert "10 faults" in ended.err
    for named in (
        "t is -3;",
        "t is 'soon'",
        "e is '2'",
        "no features/TCGA-UVM/TCGA-UV-0404-01Z-00-DX9.h5",
        "no features/TCGA-UVM/TCGA-UV-0005-01Z-00-DX1.h5",
        "slide TCGA-UV-0001-01Z-00-DX1: slide without patient",
        "slide TCGA-UV-0777-01Z-00-DX1: slide without patient",
        "row 18, patient TCGA-KI-0001, slide TCGA-KI-0001-01Z-00-DX1: the slide is in row 4 already",
        "row 19, patient TCGA-KI-0002, slide TCGA-KI-0002-01Z-00-DX1: the slide is in row 5 already",
        "t is 99999 here and 120 in row 5",
    ):
        assert named in ended.err, ended.err
    assert seconds < 12
    assert not (tmp_path / "out").exists()


def test_every_cohort_and_fold_has_a_model_of_its_own(undisturbed: Undisturbed) -> None:
    """All start from one null model, and every cohort and fold ends elsewhere."""
    folder = undisturbed.out / MODELS
    weights = [load_file(path)["pred_head.weight"] for path in sorted(folder.rglob("*.safetensors"))]
    assert len(weights) == 3 * len(COHORTS) + 1
    assert len({array.tobytes() for array in weights}) == len(weights)


def test_a_cluster_that_does_not_answer_is_the_users_error(study: Path, tmp_path: Path) -> None:
    ended = run("sweep_transfer.py", "--study", study, "--out", tmp_path / "out", "--ray-address", "127.0.0.1:9")
    assert ended.code == 2
    assert "no Ray cluster answers there" in ended.err
    assert "Traceback" not in ended.err
