"""A library of a small run: it scores as the sweep did, says nothing of patients, and is whole or refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_library import CODES, FOLDS, Made
from safetensors.torch import load_file
from small_studies import small_plan, write_study

from cropkt.borrowing.advice.recommendation import recommendation_path
from cropkt.data.persons import person_digest
from cropkt.data.slide_files.features import read_features, write_h5
from cropkt.data.study import open_study
from cropkt.errors import CheckpointError, ConfigError, InputError
from cropkt.experiments.commands import main
from cropkt.files import write_json
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import TrainedWith
from cropkt.portable import export, new_slides
from cropkt.portable.advice import advice_of, read_advice
from cropkt.portable.bundle import DIGESTED, ENSEMBLE, Library, open_library
from cropkt.portable.export import ExportSettings, export_library
from cropkt.portable.predict import Question, ask
from cropkt.portable.seen import SeenFeatures
from cropkt.training.config import TrainingConfig
from cropkt.transfer.scores import ScoreJob
from cropkt.transfer.store import ResultsFolder

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_RAY = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "mlflow", "optuna"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
from cropkt.experiments.commands import main
sys.exit(main(sys.argv[1:]))
"""


def features_of(made: Made, code: str, folder: Path) -> Path:
    """A folder with copies of the cohort's feature files, and nothing else."""
    folder.mkdir(parents=True)
    for path in made.study.cohorts[code].slides["path"]:
        shutil.copy(path, folder)
    return folder


def predict(made: Made, code: str, folder: Path, *more: str) -> pd.DataFrame:
    arguments = ["--library", str(made.library.folder), "--features", str(features_of(made, code, folder / "new"))]
    table = ["--table", str(made.small.labels(code)), "--out", str(folder / "risks.parquet")]
    assert main(["predict", *arguments, *table, *more]) == 0
    return pd.read_parquet(folder / "risks.parquet")


@pytest.mark.parametrize("code", CODES)
def test_risks_are_those_of_the_sweep_to_the_last_bit(made: Made, code: str, tmp_path: Path) -> None:
    found = predict(made, code, tmp_path, "--source", ",".join(CODES), "--cohort", code)
    for source in CODES:
        stored = pd.read_parquet(made.results.predictions_path(source, code))
        rows = found[found["source"] == source].set_index("patient_id")
        assert len(stored) == len(rows) * (1 if source == code else len(FOLDS))
        for fold, of_fold in stored.groupby("source_fold"):
            now = rows.loc[of_fold["patient_id"], f"risk_fold_{fold}"].to_numpy()
            assert now.dtype == np.float32
            assert np.array_equal(now, of_fold["risk"].to_numpy())


def test_a_csv_keeps_every_bit_of_the_risks(made: Made, tmp_path: Path) -> None:
    exact = predict(made, "acc", tmp_path / "one", "--source", "uvm")
    (tmp_path / "two").mkdir()
    arguments = ["--features", str(tmp_path / "one" / "new"), "--table", str(made.small.labels("acc"))]
    out = tmp_path / "two" / "risks.csv"
    assert (
        main(["predict", "--library", str(made.library.folder), *arguments, "--source", "uvm", "--out", str(out)]) == 0
    )
    written = pd.read_csv(out)
    assert np.array_equal(written["risk_fold_1"].astype(np.float32), exact["risk_fold_1"])


def test_the_weights_are_those_of_the_run(made: Made) -> None:
    stored = load_file(made.library.folder / "model.safetensors")
    for source in CODES:
        for fold in FOLDS:
            for name, value in load_model(made.results.models.weights(source, fold)).state_dict().items():
                assert value.equal(stored.pop(f"sources.{source}.{fold}.{name}"))
    assert all(name.startswith("null.") for name in stored)


def test_its_files_can_be_read_by_whom_the_umask_lets(made: Made) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in made.library.folder.iterdir()}
    assert len(modes) >= 6
    assert len(set(modes.values())) == 1, modes


def test_nothing_in_it_names_a_patient(made: Made) -> None:
    content = b"\n".join(path.read_bytes() for path in sorted(made.library.folder.iterdir()))
    for cohort in made.study.cohorts.values():
        for patient in cohort.labels.index:
            assert patient.encode() not in content
            assert person_digest(patient).encode() not in content
        assert not any(slide.encode() in content for slide in cohort.slides["slide"])
    times = {time for cohort in made.study.cohorts.values() for time in cohort.labels["time"]}
    for code in CODES:
        calibration = made.library.reference(code, code).calibration
        assert calibration is not None
        assert not times & {*calibration.times, calibration.end}


def test_who_is_asked_in_terms_of_a_cohort(made: Made, tmp_path: Path) -> None:
    """In the cohort a reference was learnt from, risks of another source have mean 0, and percentiles are even."""
    found = predict(made, "acc", tmp_path, "--source", "uvm", "--cohort", "acc", "--ensemble", "--years", "12")
    uvm, together = (found[found["source"] == source] for source in ("uvm", ENSEMBLE))
    assert abs(uvm["risk"].mean()) < 1e-6
    assert abs(uvm["percentile"].mean() - 50) < 2
    assert uvm.sort_values("risk")["percentile"].is_monotonic_increasing
    assert made.library.config.cohorts["acc"].members == tuple(
        code for code in made.library.config.sources if code != "acc"
    )
    assert np.corrcoef(together["risk"], uvm["risk"])[0, 1] > 0.5
    assert abs(together["risk"].mean()) < 1e-6, "its scale is that of the very sources that are asked"
    end = made.library.reference("uvm", "acc").calibration.end  # type: ignore[union-attr]
    for year in range(1, 13):
        columns = uvm[[f"survival_year_{year}{suffix}" for suffix in ("_lower", "", "_upper")]]
        assert columns.isna().all(axis=None) if 365 * year > end else columns.notna().all(axis=None)
    assert (uvm["survival_year_1_lower"] < uvm["survival_year_1"]).all()
    assert (uvm["survival_year_1"] < uvm["survival_year_1_upper"]).all()
    riskiest, safest = uvm["risk"].idxmax(), uvm["risk"].idxmin()
    assert uvm.loc[riskiest, "survival_year_2"] < uvm.loc[safest, "survival_year_2"]


def test_slides_unlike_the_cohorts_are_named(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = features_of(made, "acc", tmp_path / "new")
    odd = "TCGA-AC-0004-01Z-00-DX1"
    path = next(folder.glob(f"{odd}*"))
    values = read_features(path)
    write_h5(path, values + 40, np.zeros((len(values), 2), np.int32))
    out = tmp_path / "risks.csv"
    arguments = ["--features", str(folder), "--source", "acc", "--out", str(out)]
    assert main(["predict", "--library", str(made.library.folder), *arguments]) == 0
    slides = pd.read_csv(tmp_path / "risks_slides.csv").set_index("slide")
    assert slides.loc[odd, "unlike"]
    assert slides.loc[odd, "distance"] > 5 * slides.loc[odd, "limit"]
    assert slides["unlike"].sum() <= 3
    assert odd in capsys.readouterr().err


def test_more_slides_than_memory_holds_are_read_in_blocks(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = predict(made, "acc", tmp_path / "one", "--source", "uvm,acc", "--cohort", "acc", "--ensemble")
    monkeypatch.setattr(new_slides, "PATCHES_A_BLOCK", 20)
    in_blocks = predict(made, "acc", tmp_path / "two", "--source", "uvm,acc", "--cohort", "acc", "--ensemble")
    assert len(list(new_slides._blocks(new_slides.find_slides(tmp_path / "one" / "new", None)))) > 5
    pd.testing.assert_frame_equal(at_once, in_blocks, rtol=1e-4)


def test_patients_are_dealt_as_a_sweep_deals_them(tmp_path: Path) -> None:
    """The last bits of a matrix product depend on its rows: 8 patients of 40, left alone in one, had other risks."""
    small = write_study(tmp_path / "study", "acc", patients=40)
    cohort = open_study(small.folder).cohorts["acc"]
    plan = small_plan(tmp_path)
    of_sweep = [[row[0] for row in part] for part in ScoreJob(tmp_path, cohort, plan, {}).parts()]
    (tmp_path / "new").mkdir()
    for path in cohort.slides["path"]:
        shutil.copy(path, tmp_path / "new")
    slides = new_slides.find_slides(tmp_path / "new", small.labels("acc"))
    assert [[new.patient for new in block] for block in new_slides._blocks(slides)] == of_sweep
    assert len(of_sweep) == 2


@pytest.mark.system
def test_it_predicts_where_there_is_no_study_no_ray_and_no_mlflow(made: Made, tmp_path: Path) -> None:
    library = shutil.copytree(made.library.folder, tmp_path / "usb" / "library")
    features_of(made, "acc", tmp_path / "usb" / "new")
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_RAY,
            "predict",
            "--library",
            str(library),
            "--features",
            "new",
            "--source",
            "uvm",
        ],
        cwd=tmp_path / "usb",
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert len(pd.read_csv(tmp_path / "usb" / "risks.csv")) == len(made.study.cohorts["acc"].slides)


@pytest.mark.parametrize("name", DIGESTED)
def test_a_damaged_library_is_refused(made: Made, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(made.library.folder, tmp_path / "library")
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: not as it was exported"):
        open_library(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read"):
        open_library(folder)


def test_a_changed_or_missing_config_is_refused(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.library.folder, tmp_path / "library")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"uni2-h"', '"conch"'))
    with pytest.raises(CheckpointError, match="changed since the export"):
        open_library(folder)
    (folder / "config.json").write_text(text.replace('"format": 2', '"format": 99'))
    with pytest.raises(CheckpointError, match="has format 99"):
        open_library(folder)
    with pytest.raises(CheckpointError, match="no library here"):
        open_library(tmp_path)


def test_models_of_other_data_are_not_exported(made: Made, tmp_path: Path) -> None:
    cohorts = {**made.study.cohorts, "acc": replace(made.study.cohorts["acc"], fingerprint="of other data")}
    with pytest.raises(InputError, match="trained on other data"):
        export_library(made.results, replace(made.study, cohorts=cohorts), tmp_path / "library")
    assert not list(tmp_path.iterdir())


def test_pairs_that_were_measured_with_other_data_are_left_out(made: Made, tmp_path: Path) -> None:
    cohorts = {**made.study.cohorts, "acc": replace(made.study.cohorts["acc"], fingerprint="of other data")}
    told: list[str] = []
    settings = ExportSettings(sources=("uvm", "meso"))
    study = replace(made.study, cohorts=cohorts)
    library = export_library(made.results, study, tmp_path / "library", settings, report=told.append)
    assert library.config.sources == ("uvm", "meso")
    assert "acc" not in library.config.cohorts
    assert "acc: not measured with these models: uvm, meso; left out" in told
    assert set(pd.read_csv(tmp_path / "library" / "transfer.csv")["source"]) == {"uvm", "meso"}


def test_risks_go_with_the_outcomes_of_the_same_patients(made: Made) -> None:
    """Whatever the order of the label table."""
    cohort = made.study.cohorts["acc"]
    turned = replace(cohort, labels=cohort.labels[::-1])
    of = dict.fromkeys(CODES, FOLDS)
    straight, other = (export._risks(made.results, one, of) for one in (cohort, turned))
    for source in CODES:
        assert np.array_equal(straight[source], other[source][:, ::-1], equal_nan=True)
        assert not np.array_equal(straight[source], other[source], equal_nan=True)


def test_models_are_read_with_the_loss_and_precision_they_were_trained_with(made: Made) -> None:
    config = replace(made.library.config, training=TrainingConfig(loss="cox_nll"), precision="bfloat16")
    for library in (made.library, replace(made.library, config=config)):
        for model in (*library.models("acc"), library.null()):
            assert model.trained_with == TrainedWith(library.config.training.loss, library.config.precision)


def test_slides_of_a_patient_come_together_whatever_they_are_called(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for slide in ("a1", "a2", "a3"):
        write_h5(tmp_path / f"{slide}.h5", random.normal(size=(2, 6)).astype(np.float32), np.zeros((2, 2), np.int32))
    table = tmp_path / "table.csv"
    table.write_text("slide,patient_id\na1,p\na2,q\na3,p\n")
    slides = new_slides.find_slides(tmp_path, table)
    assert [(new.patient, new.slide) for new in slides] == [("p", "a1"), ("p", "a3"), ("q", "a2")]
    (block,) = new_slides.read_blocks(slides, 6, torch.float32, strict=True)
    assert block.bags.patients == ("p", "q")


def test_slides_are_unlike_those_of_the_cohort_that_is_asked_about(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every slide is unlike acc's, and none is unlike meso's."""

    def seen(library: Library, cohort: str) -> SeenFeatures:
        found = Library._statistics(library, f"seen.{cohort}.")
        return SeenFeatures(**{**found, "limit": -1.0 if cohort == "acc" else np.inf})

    monkeypatch.setattr(Library, "seen", seen)
    slides = new_slides.find_slides(features_of(made, "uvm", tmp_path / "new"), None)
    answer = ask(made.library, [Question("uvm", "acc"), Question("uvm", "meso")], slides).patients
    assert (answer.loc[answer["cohort"] == "acc", "slides_unlike"] == 1).all()
    assert (answer.loc[answer["cohort"] == "meso", "slides_unlike"] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "brca"], "unknown|nothing is known"),
        (["--source", "acc", "--cohort", "brca"], "unknown"),
        (["--ensemble"], "--ensemble needs --cohort"),
        ([], "nothing is asked"),
        (["--cohort", "acc"], "nothing is asked: name a --source, or --ensemble; (for ACC|the library cannot)"),
        (["--source", "acc", "--years", "0"], "it must be 1 to"),
        (["--source", "acc", "--out", "risks.xlsx"], "end it with .csv or .parquet"),
        (["--source", "acc", "--features", "nowhere"], "no feature file there"),
    ],
)
def test_wrong_questions_are_answered_with_one_message(
    made: Made, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = features_of(made, "acc", tmp_path / "new")
    given = ["--library", str(made.library.folder), "--features", str(features), *arguments]
    assert main(["predict", *given]) == 2
    assert re.search(message, capsys.readouterr().err)


def chosen(monkeypatch: pytest.MonkeyPatch, lower: float = 0.6) -> None:
    """A sweep that chose uvm for acc on training patients, where meso would have been best on the others."""
    rows = [
        {"target": "acc", "method": "self", "sources": [], "c_index_pooled": 0.63},
        {"target": "acc", "method": "honest", "sources": ["uvm", "meso", "uvm"], "c_index_pooled": 0.81},
        {"target": "acc", "method": "oracle", "sources": ["meso"] * 3, "c_index_pooled": 0.9},
        {"target": "brca", "method": "honest", "sources": ["uvm"] * 3, "c_index_pooled": 0.7},
    ]
    more = {"interval_lower": lower, "interval_upper": 0.93, "difference_self": 0.18}
    monkeypatch.setattr(ResultsFolder, "choice", lambda _: pd.DataFrame([row | more for row in rows]))


def test_whom_to_ask_is_the_source_chosen_on_training_patients(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen(monkeypatch)
    library = export_library(made.results, made.study, tmp_path / "library", report=lambda _: None)
    sentence = "for ACC take UVM: .81 (.60 to .93), own model .63"
    assert read_advice(library.folder) == {"acc": {"source": "uvm", "sentence": sentence}}
    predict(replace(made, library=library), "acc", tmp_path / "run", "--source", "meso", "--cohort", "acc")
    assert sentence in capsys.readouterr().out
    given = ["--library", str(library.folder), "--features", str(tmp_path / "run" / "new"), "--cohort", "acc"]
    assert main(["predict", *given]) == 2
    assert f"name a --source, or --ensemble; {sentence}" in capsys.readouterr().err


def test_a_source_that_is_not_there_or_has_too_few_events_is_not_advised(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(monkeypatch)
    assert set(advice_of(made.results, CODES, CODES)) == {"acc"}
    assert not advice_of(made.results, CODES, ["acc", "meso"])
    assert not advice_of(made.results, ["uvm"], CODES)
    chosen(monkeypatch, lower=np.nan)
    assert not advice_of(made.results, CODES, CODES)


def test_what_recommend_found_travels_too(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shutil.copytree(made.results.out, tmp_path / "out")
    results = ResultsFolder(out, made.results.encoder, made.results.architecture)
    stored = {"target": "acc", "sentences": ["Borrow.", "With probability 0.93.", "More."]}
    write_json(recommendation_path(out, made.results.encoder, "acc"), stored)
    library = export_library(results, made.study, tmp_path / "library", report=lambda _: None)
    predict(replace(made, library=library), "acc", tmp_path / "run", "--source", "uvm", "--cohort", "acc")
    assert "Borrow.\nWith probability 0.93.\nall of it: " in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "risks_recommendation_acc.json").read_text()) == stored


def test_an_export_never_overwrites(made: Made) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        export_library(made.results, made.study, made.library.folder)


def test_the_commands_export_and_show(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    licence = tmp_path / "text"
    licence.write_text("Do good.")
    arguments = [str(made.results.out), "--study", str(made.study.folder), "--to", str(tmp_path / "library")]
    assert main(["library", "export", *arguments, "--license", "cc-by-4.0", "--license-file", str(licence)]) == 0
    assert main(["library", "show", str(tmp_path / "library")]) == 0
    assert "adrenocortical carcinoma" in capsys.readouterr().out
    assert (tmp_path / "library" / "LICENSE").read_text() == "Do good."
    assert "license: cc-by-4.0" in (tmp_path / "library" / "README.md").read_text()
    assert main(["library", "nonsense"]) == 2


def test_hugging_face_loads_and_saves_it(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import ModelCard

    from cropkt.portable.hub import HubLibrary

    model = HubLibrary.from_pretrained(str(made.library.folder))
    stored = load_file(made.library.folder / "model.safetensors")
    found = model.state_dict()
    assert found.keys() == stored.keys()
    assert all(value.equal(stored[name]) for name, value in found.items())
    model.save_pretrained(tmp_path / "copy")
    assert open_library(tmp_path / "copy").config == made.library.config
    assert ModelCard.load(tmp_path / "copy" / "README.md").data.library_name == "cropkt"
    with pytest.raises(ValueError, match="is the library itself"):
        model.save_pretrained(made.library.folder)
    assert open_library(made.library.folder)
