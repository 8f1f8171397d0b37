"""What has been measured, on disk: done means whole and of today; tables, q-values and the matrix come from it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cropkt.cohorts import COHORTS
from cropkt.transfer.assemble import fold_table, matrix, pair_table, write_tables
from cropkt.transfer.judgement.survival import SurvivalQuality
from cropkt.transfer.pair import PairResult
from cropkt.transfer.rows import FOLDS, PAIRS, PREDICTIONS, FoldRow, PairRow, Status
from cropkt.transfer.store import PairRecord, ResultsFolder, check_record, store_failure, store_pair


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "out", "uni2-h", "abmil")


def measured(
    source: str, target: str, c_index: float = 0.6, p: float = 0.04, *, encoder: str = "uni2-h", folds: int = 2
) -> PairResult:
    identity = (source, target, encoder, "abmil", "self" if source == target else "transfer")
    measures = ("c_index_mean", "c_index_mean_standard_error", "c_index_pooled", "standard_error")
    measures += tuple(f"c_index_within_{cells}" for cells in ("folds", "projects"))
    measures += ("standard_error_within_folds", "interval_lower", "interval_upper", *vars(SurvivalQuality()))
    numbers = dict.fromkeys(measures, c_index) | {"p_chance": p}
    counts = {"n_patients": 40, "n_events": 20, "n_events_compared": 20, "n_comparable": 200}
    counts |= {"folds_used": folds, "skipped_slides": 0, "passing_slides": 0}
    cells = [(m, f) for m in range(folds) for f in range(folds) if source != target or m == f]
    rows = tuple(FoldRow(*identity, m, f, c_index, 0.1, 2, 1, 1, Status.OK) for m, f in cells)
    said = {"patient_id": ["p", "q"], "risk": [0.5, -0.5], "hazard": [[0.1, 0.2], [0.3, 0.4]]}
    predictions = PREDICTIONS.filled(pd.DataFrame(said)).assign(source=source, target=target)
    vectors = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8
    return PairResult(rows, PairRow(*identity, **numbers, **counts), predictions, vectors)


def today(source: str, target: str) -> str:  # noqa: ARG001
    """The fingerprint of today's study: that of all records here."""
    return "today"


def store(folder: ResultsFolder, *results: PairResult, patients: Sequence[str] = ("p", "q", "r")) -> None:
    for result in results:
        store_pair(folder, result, fingerprint="today", patients=patients, seconds=1.5)


def tables(folder: ResultsFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """transfer.parquet and pairs.parquet as they are on disk."""
    returned = write_tables(folder, today).pairs
    pairs = pd.read_parquet(folder.out / "pairs.parquet")
    pd.testing.assert_frame_equal(pairs, returned, check_dtype=False)
    return pd.read_parquet(folder.out / "transfer.parquet"), pairs


def test_a_stored_pair_comes_back_whole(folder: ResultsFolder) -> None:
    result = measured("acc", "uvm")
    record = store_pair(folder, result, fingerprint="today", patients=["p", "q", "r"], seconds=1.5)
    assert folder.record("acc", "uvm") == record
    assert record.fingerprint == "today"
    assert record.pair.seconds == 1.5
    found = folder.representations("acc", "uvm")
    assert found.patients == ("p", "q", "r")
    assert found.source_folds == (0, 1)
    np.testing.assert_array_equal(found.vectors.numpy(), result.representation)  # eighths are whole in float16
    stored = pd.read_parquet(folder.predictions_path("acc", "uvm"))
    pd.testing.assert_frame_equal(
        stored[["patient_id", "risk"]], result.predictions[["patient_id", "risk"]], check_dtype=False
    )
    assert [hazard.tolist() for hazard in stored["hazard"]] == np.float32([[0.1, 0.2], [0.3, 0.4]]).tolist()


def test_representations_beyond_float16_stay_finite(folder: ResultsFolder) -> None:
    result = measured("acc", "uvm")
    result.representation[0, 0, 0] = 1e6
    store(folder, result)
    assert np.isfinite(folder.representations("acc", "uvm").vectors.numpy()).all()


def test_a_pair_not_measured_or_of_another_folder_is_not_done(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm"))
    assert folder.record("uvm", "acc") is None
    assert ResultsFolder(folder.out, "uni2-h", "mean").record("acc", "uvm") is None
    assert ResultsFolder(folder.out, "other", "abmil").record("acc", "uvm") is None


def test_a_record_that_was_copied_is_not_another_pairs(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm"))
    copy = folder.record_path("blca", "uvm")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(folder.record_path("acc", "uvm").read_bytes())
    for files in (folder.predictions_path, folder.representations_path):
        files("blca", "uvm").parent.mkdir(parents=True, exist_ok=True)
        files("blca", "uvm").write_bytes(files("acc", "uvm").read_bytes())
    assert check_record(folder, "acc", "uvm")[1] == ""
    assert check_record(folder, "blca", "uvm") == (None, "its record is of another pair")


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": "today", "pair": {', b"\xff\xfe\x00", b"\x00" * 40])
def test_a_damaged_record_is_not_done_and_in_no_table(folder: ResultsFolder, content: bytes) -> None:
    store(folder, measured("acc", "uvm"), measured("uvm", "acc"))
    folder.record_path("acc", "uvm").write_bytes(content)
    assert folder.record("acc", "uvm") is None
    assert [record.pair.source for record in folder.records()] == ["uvm"]
    folds, pairs = tables(folder)
    assert pairs[["source", "target"]].to_numpy().tolist() == [["uvm", "acc"]]
    assert len(folds) == 4


def test_the_record_is_written_last(folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair that fails on the way leaves no record, so it is measured again, and its predictions no half file."""
    result = measured("acc", "uvm")
    broken = PairResult(result.folds, result.pair, result.predictions, np.array(["no numbers"], dtype=object))
    with pytest.raises(TypeError):
        store(folder, broken)
    assert folder.record("acc", "uvm") is None
    assert [path.name for path in folder.out.rglob("*") if path.name.startswith(".") or ".tmp-" in path.name] == []

    def fails(*_args: object, **_settings: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fails)
    with pytest.raises(OSError, match="disk full"):
        store(folder, result)
    assert folder.record("acc", "uvm") is None
    assert [path.name for path in folder.out.rglob("*") if path.name.startswith(".") or ".tmp-" in path.name] == []


def test_storing_a_pair_waits_for_the_disk_once(folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the record, and its folder; what else a power failure may take makes the record no whole one."""
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}"))))
    store(folder, measured("lung", "brca"))
    record = folder.record_path("lung", "brca")
    assert [path.name[: len(record.name)] for path in flushed] == [record.name, record.parent.name]
    for path in (folder.predictions_path("lung", "brca"), folder.representations_path("lung", "brca")):
        whole = path.read_bytes()
        path.write_bytes(b"\0" * len(whole))
        assert check_record(folder, "lung", "brca")[0] is None
        path.write_bytes(whole)
        assert check_record(folder, "lung", "brca")[0] is not None


def test_a_failure_is_told_in_the_table_and_not_done(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm"))
    store_failure(folder, "uvm", "acc", "the worker died")
    record = folder.record("uvm", "acc")
    assert record is not None
    assert record.fingerprint is None, "never equal to today's, so the next run tries again"
    folds, pairs = tables(folder)
    failed = pairs.set_index("source").loc["uvm"]
    assert (failed["status"], failed["reason"]) == ("failed", "the worker died")
    assert failed[["c_index_mean", "p_chance", "q_chance"]].isna().all()
    assert set(folds["source"]) == {"acc"}
    store(folder, measured("uvm", "acc"))
    assert set(tables(folder)[1]["status"]) == {"ok"}


def test_nothing_measured_gives_empty_tables(folder: ResultsFolder) -> None:
    folds, pairs = tables(folder)
    assert (len(folds), len(pairs)) == (0, 0)
    assert list(folds.columns) == FOLDS.names
    assert list(pairs.columns) == PAIRS.names


def test_q_values_are_benjamini_and_hochbergs_over_pairs_between_cohorts(folder: ResultsFolder) -> None:
    """One-sided p = .005 .01 .015 .4: p n / rank = .02 .02 .02 .4. Self pairs and pairs without p do not count."""
    values = {("acc", "uvm"): 0.03, ("acc", "blca"): 0.01, ("uvm", "acc"): 0.8, ("uvm", "blca"): 0.02}
    store(folder, *(measured(s, t, p=p) for (s, t), p in values.items()))
    store(folder, measured("acc", "acc", p=1e-6), measured("blca", "acc", p=np.nan))
    _, pairs = tables(folder)
    q = pairs.set_index(["source", "target"])["q_chance"]
    assert [q[pair] for pair in values] == pytest.approx([0.02, 0.02, 0.4, 0.02])
    assert np.isnan(q["acc", "acc"])
    assert np.isnan(q["blca", "acc"])


def test_q_values_of_one_encoder_do_not_know_another(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm", p=0.02), measured("uvm", "acc", p=0.04))
    other = ResultsFolder(folder.out, "other", "abmil")
    store(other, measured("acc", "uvm", p=0.5, encoder="other"))
    write_tables(other, today)
    _, pairs = tables(folder)
    q = pairs.set_index(["encoder", "source"])["q_chance"]
    assert (q["uni2-h", "acc"], q["uni2-h", "uvm"], q["other", "acc"]) == pytest.approx((0.02, 0.02, 0.25))


def test_tables_and_matrix_on_disk_are_in_the_registrys_order(folder: ResultsFolder) -> None:
    """Large cohorts first, then rare, then cohorts of one's own; rows sources, columns targets."""
    codes = ["mine", "uvm", "acc", "blca"]
    order = [code for code in COHORTS if code in codes] + ["mine"]
    values = {(s, t): 0.1 + 0.2 * order.index(s) + 0.03 * order.index(t) for s in codes for t in codes}
    del values["acc", "blca"]
    store(folder, *(measured(s, t, c) for (s, t), c in values.items()))
    folds, pairs = tables(folder)
    assert list(pairs["target"].unique()) == order
    assert list(pairs.loc[pairs["target"] == "mine", "source"]) == order
    assert len(folds) == 11 * 4 + 4 * 2
    assert folds[["source_fold", "target_fold"]].head(4).to_numpy().tolist() == [[0, 0], [1, 1], [0, 0], [0, 1]]
    table = pd.read_csv(folder.out / "transfer_matrix.csv", index_col=0)
    assert list(table.index) == list(table.columns) == order
    assert np.isnan(table.loc["acc", "blca"])
    for (s, t), c in values.items():
        assert table.loc[s, t] == pytest.approx(c, abs=1e-6)
    pd.testing.assert_frame_equal(table, matrix(pairs), check_names=False, atol=1e-6)


def test_the_order_in_which_pairs_were_measured_does_not_show() -> None:
    results = [
        measured(s, t, 0.5 + 0.01 * n) for n, (s, t) in enumerate([("acc", "uvm"), ("uvm", "acc"), ("acc", "acc")])
    ]
    records = [PairRecord("today", result.pair, result.folds) for result in results]
    pd.testing.assert_frame_equal(pair_table(records, {}), pair_table(records[::-1], {}))
    pd.testing.assert_frame_equal(fold_table(records), fold_table(records[::-1]))


def test_records_are_chosen_by_target(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm"), measured("uvm", "acc"), measured("blca", "acc"))
    assert [record.pair.source for record in folder.records("acc")] == ["blca", "uvm"]


def test_undefined_numbers_are_null_on_disk_and_nan_in_tables(folder: ResultsFolder) -> None:
    store(folder, measured("acc", "uvm", c_index=np.nan, p=np.nan))
    raw = json.loads(folder.record_path("acc", "uvm").read_text())
    assert raw["pair"]["c_index_pooled"] is None
    folds, pairs = tables(folder)
    assert pairs["c_index_pooled"].dtype == folds["c_index"].dtype == float
    assert np.isnan(pairs["c_index_pooled"][0])
