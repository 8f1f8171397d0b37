"""Tables hold only what is true today, and what is damaged is not true."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_target import simulated_target
from small_studies import SmallStudy

from cropkt.data.study import open_study
from cropkt.errors import ConfigError, InputError
from cropkt.transfer.assemble import stale_message, update_comparison, write_tables
from cropkt.transfer.current import Expected, claim, current_records, read_study_card
from cropkt.transfer.pair import Scored, TargetCohort, pair_result
from cropkt.transfer.significance import collect_predictions
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair

SOURCES = ("brca", "kipan", "lung", "acc", "random")


def by_version(**versions: str) -> Expected:
    """Today's fingerprints: the version of the source, of those that are named."""
    return lambda source, target: versions.get(source) if target in versions or target == "acc" else None


TODAY = by_version(**dict.fromkeys(SOURCES, "v1"))


def store(results: ResultsFolder, name: str, target: TargetCohort, risk: np.ndarray, version: str = "v1") -> None:
    models = risk + np.random.default_rng(len(name)).normal(scale=0.3, size=(5, len(risk)))
    valid = np.ones(models.shape, dtype=bool) if name != "acc" else target.tested_in == np.arange(5)[:, None]
    representation = np.repeat(models[:, :, None], 2, axis=2).astype(np.float32)
    scored = Scored(
        name, "abmil", tuple(range(5)), models, valid, representation=representation, knows_target=name == "acc"
    )
    patients = target.bags.patients
    store_pair(results, pair_result(scored, target), fingerprint=version, patients=patients, seconds=0.1)


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "out", "simulated", "abmil")


@pytest.fixture(scope="module")
def world() -> tuple[TargetCohort, np.ndarray]:
    return simulated_target(120, signal=0.4)


@pytest.fixture(scope="module")
def swept(world: tuple[TargetCohort, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder after a sweep; `sweep` copies it."""
    target, log_risk = world
    results = ResultsFolder(tmp_path_factory.mktemp("swept") / "out", "simulated", "abmil")
    for number, name in enumerate(SOURCES):
        store(results, name, target, log_risk * (1 - 0.5 * number))
    update_comparison(results, "acc", target.cohort.folds, TODAY)
    return results.out


@pytest.fixture
def sweep(swept: Path, results: ResultsFolder) -> None:
    shutil.copytree(swept, results.out)


def corrected(target: TargetCohort) -> TargetCohort:
    """The target after every label was corrected: who died early now died late."""
    return replace(target, time=target.time.max() + 1 - target.time)


@pytest.mark.usefixtures("sweep")
def test_after_labels_were_corrected_only_what_was_measured_again_is_in_tables(
    results: ResultsFolder, world: tuple[TargetCohort, np.ndarray]
) -> None:
    target, log_risk = world
    assert set(write_tables(results, TODAY).pairs["source"]) == set(SOURCES)
    today = by_version(**dict.fromkeys(SOURCES, "v2"))
    again = corrected(target)
    for name, skill in (("brca", 1.0), ("random", 0.2)):
        store(results, name, again, skill * log_risk, "v2")
    update_comparison(results, "acc", again.cohort.folds, today)
    tables = write_tables(results, today)
    assert sorted(tables.pairs["source"]) == ["brca", "random"]
    assert set(tables.folds["source"]) == {"brca", "random"}
    assert set(tables.choice["method"]) == {"honest", "oracle", "rank_average", "majority_vote"}, "no own model today"
    pairs = tables.pairs.set_index("source")
    assert pairs.loc["brca", "c_index_pooled"] < 0.5
    assert pairs.loc["brca", "q_below_chance"] == pytest.approx(pairs.loc["brca", "p_chance"] / 2), "a family of one"
    difference = pairs.loc["brca", "c_index_pooled"] - pairs.loc["random", "c_index_pooled"]
    assert pairs.loc["brca", "difference_random"] == pytest.approx(difference), "both on the corrected labels"
    assert np.isnan(pairs.loc["brca", "difference_self"]), "the own model is of the old labels"
    assert sorted(tables.stale["source"]) == ["acc", "kipan", "lung"]
    assert pd.read_csv(results.out / "stale.csv")["why"].str.contains("have changed").all()
    assert "3 records are in no table" in stale_message(tables)


@pytest.mark.usefixtures("sweep")
def test_a_comparison_of_records_that_are_no_longer_current_is_in_no_table(
    results: ResultsFolder,
) -> None:
    tables = write_tables(results, by_version(brca="v1", kipan="v1", lung="v1", acc="v1", random="v2"))
    assert tables.choice.empty
    assert tables.pairs["difference_self"].isna().all()


@pytest.mark.usefixtures("sweep")
def test_a_cohort_that_left_the_study_leaves_the_tables(
    results: ResultsFolder, world: tuple[TargetCohort, np.ndarray]
) -> None:
    target, _ = world
    today = by_version(brca="v1", lung="v1", acc="v1", random="v1")
    update_comparison(results, "acc", target.cohort.folds, today)
    tables = write_tables(results, today)
    matrix = pd.read_csv(results.out / "transfer_matrix.csv", index_col=0)
    assert list(matrix.index) == ["brca", "lung", "acc"]
    assert tables.stale[["source", "why"]].to_numpy().tolist() == [["kipan", "the study has no such cohort"]]
    assert results.stale() == {("kipan", "acc")}
    assert all("kipan" not in sources for sources in tables.choice["sources"])


def test_rows_of_another_architecture_stay_while_labels_are_those_of_its_run(
    small_study: Callable[..., SmallStudy], tmp_path: Path, world: tuple[TargetCohort, np.ndarray]
) -> None:
    study, (target, log_risk) = small_study("acc", "brca"), world
    results = ResultsFolder(tmp_path / "out", "simulated", "abmil")
    other = replace(results, architecture="max")
    claim(results.out, open_study(study.folder))
    store(results, "brca", target, log_risk)
    write_tables(results, TODAY)
    assert set(write_tables(other, TODAY).pairs["architecture"]) == {"abmil"}
    study.set_cell("brca", 4, "t", "4321")
    claim(results.out, open_study(study.folder))
    tables = write_tables(other, TODAY)
    assert tables.pairs.empty
    assert tables.stale["why"].str.contains("labels or splits").all()


def test_a_results_folder_belongs_to_one_study(small_study: Callable[..., SmallStudy], tmp_path: Path) -> None:
    study = small_study("acc")
    first = claim(tmp_path / "out", open_study(study.folder))
    assert read_study_card(tmp_path / "out") == first
    study.set_cell("acc", 4, "t", "4321")
    second = claim(tmp_path / "out", open_study(study.folder))
    assert (second.name, second.digest != first.digest) == ("small", True)
    study.set(name="another")
    with pytest.raises(ConfigError, match="holds results of study small"):
        claim(tmp_path / "out", open_study(study.folder))
    assert read_study_card(tmp_path / "out") == second


@pytest.mark.parametrize(("column", "value"), [("time", 5.0), ("event", 7), ("target_fold", 4)])
def test_tables_that_disagree_on_a_patient_are_refused(column: str, value: float) -> None:
    one = pd.DataFrame({"patient_id": ["a", "b"], "time": [1.0, 2.0], "event": [1, 0], "target_fold": [0, 1]})
    one = one.assign(source_fold=0, risk=[0.1, 0.2])
    other = one.assign(**{column: [one[column][0], value]})
    assert collect_predictions("acc", {"brca": one, "lung": one}).patients == ("a", "b")
    with pytest.raises(InputError, match=f"brca and lung disagree on patient b .{column}"):
        collect_predictions("acc", {"brca": one, "lung": other})


KINDS = {
    "record": lambda results: results.record_path("brca", "acc"),
    "predictions": lambda results: results.predictions_path("brca", "acc"),
    "representations": lambda results: results.representations_path("brca", "acc"),
}
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: bytes(len(whole)),
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "one byte": lambda whole: whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("sweep")
def test_what_is_damaged_is_not_done_and_in_no_table(results: ResultsFolder, kind: str, damage: str) -> None:
    path = KINDS[kind](results)
    content = DAMAGES[damage](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    if (kind, damage) == ("record", "one byte"):
        content = json.loads(path.read_text()) if _is_json(path) else None
        if content is not None and results.record("brca", "acc") is not None:
            pytest.skip("the byte was white space")
    assert results.record("brca", "acc") is None
    found = current_records(results, TODAY)
    assert [record.pair.source for record in found.records] == ["acc", "kipan", "lung", "random"]
    assert len(found.stale) == (0 if (kind, damage) == ("record", "missing") else 1)
    assert results.predictions("acc", ["brca"]) is None
    assert results.representations("brca", "acc") is None
    assert "brca" not in set(write_tables(results, TODAY).pairs["source"])


@pytest.mark.usefixtures("sweep")
def test_what_was_damaged_is_whole_again_after_it_was_measured_again(
    results: ResultsFolder, world: tuple[TargetCohort, np.ndarray]
) -> None:
    target, log_risk = world
    undisturbed = write_tables(results, TODAY).pairs
    for path in (kind(results) for kind in KINDS.values()):
        path.write_bytes(path.read_bytes()[:20])
    assert "brca" not in set(write_tables(results, TODAY).pairs["source"])
    store(results, "brca", target, log_risk)
    update_comparison(results, "acc", target.cohort.folds, TODAY)
    pd.testing.assert_frame_equal(write_tables(results, TODAY).pairs, undisturbed)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"fingerprint": 1, "pairs": [1], "choice": []}', b"\xff"])
@pytest.mark.usefixtures("sweep")
def test_a_damaged_comparison_is_made_again(
    results: ResultsFolder, world: tuple[TargetCohort, np.ndarray], content: bytes
) -> None:
    target, _ = world
    whole = results.comparison_path("acc").read_bytes()
    results.comparison_path("acc").write_bytes(content)
    assert write_tables(results, TODAY).choice.empty
    update_comparison(results, "acc", target.cohort.folds, TODAY)
    assert results.comparison_path("acc").read_bytes() == whole


@pytest.mark.parametrize("name", [".brca.0a1b2c3d.json", "brca.json.tmp-0a1b2c3d", ".hidden.json"])
@pytest.mark.usefixtures("sweep")
def test_files_that_are_being_written_are_never_read(results: ResultsFolder, name: str) -> None:
    before = write_tables(results, TODAY)
    results.record_path("brca", "acc").with_name(name).write_text('{"fingerprint": "v1", "pair": {')
    after = write_tables(results, TODAY)
    pd.testing.assert_frame_equal(after.pairs, before.pairs)
    assert after.stale.empty


def test_a_failure_is_current_while_the_study_has_its_cohorts(results: ResultsFolder) -> None:
    store_failure(results, "kipan", "acc", "its worker died")
    assert len(current_records(results, TODAY).records) == 1
    assert current_records(results, by_version(acc="v1")).stale[0].why == "the study has no such cohort"
