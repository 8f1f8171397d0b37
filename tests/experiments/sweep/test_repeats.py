"""`--repeats R`: what a cohort trains on its own patients is cross-validated R times, and nothing else changes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy, write_study
from sweep_here import sweep_here, tables

from cropkt.survival.concordance import score_folds
from cropkt.survival.repeats import repeated_c_index
from cropkt.transfer.rows import PATIENTS_ONLY, TRAINING_TOO

KIND = Path("uni2-h") / "abmil"
TRAINED = ["self", "mean_cox", "project", "site", "size", "clinical"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return write_study(tmp_path_factory.mktemp("repeats") / "study", "acc", "uvm", patients=24)


@pytest.fixture(scope="module")
def once(study: SmallStudy) -> Path:
    assert sweep_here(study.folder, study.folder.parent / "once").code == 0
    return study.folder.parent / "once"


@pytest.fixture(scope="module")
def out(study: SmallStudy) -> Path:
    ended = sweep_here(study.folder, study.folder.parent / "out", "--repeats", "3")
    assert ended.code == 0, ended
    return study.folder.parent / "out"


def pairs(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet").set_index(["source", "target"]).drop(columns="seconds")


def own_predictions(out: Path, repeat: int, target: str) -> pd.DataFrame:
    folder = out / "repeats" / str(repeat) if repeat else out
    table = pd.read_parquet(folder / "predictions" / KIND / target / f"{target}.parquet")
    return table.sort_values("patient_id", ignore_index=True)


def test_each_repeat_splits_all_patients_anew_and_starts_elsewhere(out: Path) -> None:
    for target in ("acc", "uvm"):
        said = [own_predictions(out, repeat, target) for repeat in range(3)]
        for table in said:
            assert table["patient_id"].tolist() == said[0]["patient_id"].tolist(), "each patient is tested once"
            assert (table["source_fold"] == table["target_fold"]).all()
        splits = {tuple(table["target_fold"]) for table in said}
        assert len(splits) == 3
    starts = [folder / "models" / KIND / "null.safetensors" for folder in (out, out / "repeats" / "1")]
    assert starts[0].read_bytes() != starts[1].read_bytes()


def test_no_model_of_a_repeat_has_seen_whom_it_is_tested_on(out: Path) -> None:
    """The digests on a repeat's cards are those of the patients that its fold does not test."""
    from cropkt.data.persons import person_digest

    for repeat in (1, 2):
        said = own_predictions(out, repeat, "acc")
        for fold, tested in said.groupby("source_fold"):
            card = out / "repeats" / str(repeat) / "models" / KIND / "acc" / f"fold_{fold}.json"
            seen = set(json.loads(card.read_text())["train_patients"])
            assert seen == {person_digest(patient) for patient in set(said["patient_id"]) - set(tested["patient_id"])}


def test_the_own_models_row_is_that_of_all_repeats(out: Path) -> None:
    found, listed = pairs(out), pd.read_parquet(out / "repeats.parquet").set_index(["target", "model"])
    for target in ("acc", "uvm"):
        scores = []
        for repeat in range(3):
            said = own_predictions(out, repeat, target)
            time, event, folds = (said[name].to_numpy() for name in ("time", "event", "target_fold"))
            risk = said["risk"].to_numpy(dtype=np.float64)[None, :]
            scores.append(score_folds(time, event, risk, folds, np.ones(risk.shape, dtype=bool)).pooled)
        expected, row = repeated_c_index(scores), found.loc[(target, target)]
        assert row["c_index_pooled"] == pytest.approx(expected.estimate)
        assert row["standard_error"] == pytest.approx(expected.standard_error)
        assert (row["interval_lower"], row["interval_upper"]) == pytest.approx(expected.interval())
        assert row["error_covers"] == TRAINING_TOO
        of_own = listed.loc[(target, "self")]
        assert of_own["repeats"] == 3
        values = [score.c_index for score in scores]
        assert of_own["spread_split_and_seed"] == pytest.approx(np.std(values, ddof=1))


def test_nothing_that_was_not_trained_on_the_target_changes(out: Path, once: Path) -> None:
    assert tables(out)["transfer"] == tables(once)["transfer"]
    with_repeats, without = pairs(out), pairs(once)
    assert (without["error_covers"] == PATIENTS_ONLY).all()
    transfer = without["mode"] == "transfer"
    assert (without.loc[transfer, "repeats_self"] == 1).all()
    measured = ["self", "mean_cox", "size"]  # one project, one site and no clinical columns: the others say nothing
    assert (with_repeats.loc[transfer, [f"repeats_{name}" for name in measured]] == 3).all(axis=None)
    touched = [name for name in without if name.endswith(tuple(f"_{of}" for of in (*TRAINED, "worth_borrowing")))]
    pd.testing.assert_frame_equal(with_repeats[transfer].drop(columns=touched), without[transfer].drop(columns=touched))
    assert (with_repeats.loc[transfer, "difference_self"] != without.loc[transfer, "difference_self"]).all()
    others = ~without["mode"].isin([*TRAINED, "transfer"])
    pd.testing.assert_frame_equal(with_repeats[others], without[others])
    listed = pd.read_parquet(once / "repeats.parquet")
    assert set(listed["repeats"]) == {1}
    assert listed["spread_split_and_seed"].isna().all()
    assert listed["smallest_difference"].notna().all()


def test_the_same_command_again_does_nothing_and_what_is_there_stays(study: SmallStudy, out: Path) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (out / "repeats").rglob("*") if path.is_file()}

    before, then = tables(out), written()
    for flags in (["--repeats", "3"], []):
        assert sweep_here(study.folder, out, *flags).code == 0
        assert tables(out) == before
        assert {path for path, time in written().items() if then.get(path) != time and path.name != ".lock"} == set()


def test_a_repeat_that_failed_is_said_by_the_exit_code(
    study: SmallStudy, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = out / "repeats" / "2" / "pairs" / KIND / "acc" / "acc.json"
    lost.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("cropkt.experiments.sweep.repeats._measure", lambda *_: None)
        ended = sweep_here(study.folder, out, "--repeats", "3")
    assert ended.code == 1
    assert "warning: repeat 2, acc on acc: not measured; the same command tries it again" in ended.out
    assert sweep_here(study.folder, out, "--repeats", "3").code == 0


def test_a_damaged_repeat_heals(study: SmallStudy, out: Path) -> None:
    """One repeat has lost acc's predictions, another uvm's records and the models that they were measured with."""
    before = tables(out)
    first, second = out / "repeats" / "1", out / "repeats" / "2"
    damaged = [first / "predictions" / KIND / "acc", second / "pairs" / KIND / "uvm", second / "models" / KIND / "uvm"]
    for path in (path for folder in damaged for path in folder.iterdir()):
        path.write_bytes(path.read_bytes()[:40])
    assert sweep_here(study.folder, out).code == 0
    assert set(pd.read_parquet(out / "repeats.parquet")["repeats"]) == {2}, "what is damaged counts for nothing"
    assert sweep_here(study.folder, out, "--repeats", "3").code == 0
    assert tables(out) == before


def test_a_repeat_of_other_labels_counts_for_nothing(study: SmallStudy, out: Path) -> None:
    before = study.labels("uvm").read_text()
    study.set_cell("uvm", 4, "t", "4321")
    assert sweep_here(study.folder, out).code == 0
    listed = pd.read_parquet(out / "repeats.parquet").groupby("target")["repeats"].max()
    assert listed.to_dict() == {"acc": 3, "uvm": 1}
    study.labels("uvm").write_text(before)
    assert sweep_here(study.folder, out).code == 0
    listed = pd.read_parquet(out / "repeats.parquet").groupby("target")["repeats"].max()
    assert listed.to_dict() == {"acc": 3, "uvm": 3}
