"""The table of pairs: which way round, on whose patches, and whose errors go together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from small_studies import small_plan, write_study

from cropkt.data.bags import read_bags
from cropkt.data.study import Study, open_study
from cropkt.factors.config import FactConfig
from cropkt.factors.facts.models import attend, attention_overlap
from cropkt.factors.facts.tables import cohort_table, error_covariances, pair_table, read_pairs, sample_study
from cropkt.models.checkpoint import load_model
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.assemble import write_tables
from cropkt.transfer.current import Current, remember
from cropkt.transfer.pair import PairResult, hold_target, measure_pair
from cropkt.transfer.rows import PREDICTIONS, PairRow
from cropkt.transfer.store import ResultsFolder, store_pair

CODES = ("acc", "uvm")
FACTS = FactConfig(patches=64, components=3, attention_patients=100, attention_patches=100)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """acc and uvm; a patient of uvm dies 40 days later than one of acc."""
    small = write_study(tmp_path_factory.mktemp("tables") / "study", *CODES)
    rows = small.rows("uvm")
    for row in rows[1:]:
        row[2] = str(int(row[2]) + 40)
    small.write_rows("uvm", rows)
    return open_study(small.folder)


@pytest.fixture(scope="module")
def results(study: Study, tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    """Everything of one fold, and a pair of another architecture."""
    folder = ResultsFolder(tmp_path_factory.mktemp("tables") / "out", study.encoder.name, "abmil")
    other_folder = replace(folder, architecture="mean")
    plan = small_plan(folder.models.path)
    store_null_model(plan)
    for cohort in study.cohorts.values():
        train_cohort(plan, cohort, [0])
    for cohort in study.cohorts.values():
        held = hold_target(cohort, read_bags(cohort))
        for source in CODES:
            pair = measure_pair(load_source_models(plan, source, [0]), held)
            store_pair(folder, pair, fingerprint="now", patients=held.bags.patients, seconds=0.1)
            other = replace(pair, pair=replace(pair.pair, architecture="mean"), folds=(), representation=None)
            store_pair(other_folder, other, fingerprint="now", patients=held.bags.patients, seconds=0.1)
    remember(other_folder, Current(other_folder.records(), []))
    write_tables(folder, lambda *_: "now")
    return folder


def test_pairs_are_those_of_the_folders_encoder_and_architecture(results: ResultsFolder) -> None:
    assert len(pd.read_parquet(results.out / "pairs.parquet")) == 8
    pairs = read_pairs(results)
    assert sorted(zip(pairs["source"], pairs["target"], strict=True)) == [(s, t) for s in CODES for t in CODES]
    assert set(pairs["architecture"]) == {"abmil"}


@pytest.fixture(scope="module")
def tables(study: Study, results: ResultsFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By cohort; and by source and target."""
    pairs, samples = read_pairs(results), sample_study(study, CODES, FACTS)
    cohorts = cohort_table(study, samples, pairs)
    table = pair_table(study, results, samples, cohorts, pairs, FACTS)
    return cohorts.set_index("cohort"), table.set_index(["source", "target"])


def test_differences_are_source_less_target(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    cohorts, pairs = tables
    longer = cohorts["rmst"]["uvm"] - cohorts["rmst"]["acc"]
    assert longer > 20
    assert pairs["rmst_difference"]["uvm", "acc"] == pytest.approx(longer)
    assert pairs["rmst_difference"]["acc", "uvm"] == pytest.approx(-longer)
    assert pairs["rmst_gap"]["acc", "uvm"] == pytest.approx(longer)


def test_a_cohorts_own_c_index_is_that_within_it(
    tables: tuple[pd.DataFrame, pd.DataFrame], results: ResultsFolder
) -> None:
    cohorts, pairs = tables
    measured = read_pairs(results).set_index(["source", "target"])["c_index_pooled"]
    for one, other in (CODES, CODES[::-1]):
        assert cohorts["c_index_self"][one] == measured[one, one]
        assert pairs["c_index_pooled"][one, other] == measured[one, other]
    assert measured.nunique() == 4


def test_attention_is_compared_on_the_targets_patches(
    tables: tuple[pd.DataFrame, pd.DataFrame], study: Study, results: ResultsFolder
) -> None:
    _, pairs = tables
    models = [load_model(results.models.weights(code, 0)) for code in CODES]
    overlap = {}
    for code in CODES:
        bags = read_bags(study.cohorts[code])
        attention = attend(models, bags.features, bags.offsets)
        overlap[code] = attention_overlap(attention, bags.offsets.numpy())[0, 1]
    assert pairs["attention_overlap"]["acc", "uvm"] == pytest.approx(overlap["uvm"], rel=1e-5)
    assert pairs["attention_overlap"]["uvm", "acc"] == pytest.approx(overlap["acc"], rel=1e-5)
    assert overlap["acc"] != pytest.approx(overlap["uvm"], rel=1e-4)


def predictions(source: str, risk: np.ndarray) -> pd.DataFrame:
    patients = [f"p{number}" for number in range(len(risk))]
    table = pd.DataFrame({"patient_id": patients, "time": np.arange(len(risk)) + 1.0, "event": 1, "risk": risk})
    return PREDICTIONS.filled(table.assign(source=source, source_fold=0, target_fold=0))


def test_errors_of_sources_that_say_the_same_go_together(tmp_path: Path) -> None:
    """Of three sources on one target two rank its patients alike, a third without regard to them."""
    folder = ResultsFolder(tmp_path, "uni2-h", "abmil")
    random = np.random.default_rng(0)
    risk = random.normal(size=40) - np.arange(40) / 30
    rows = []
    for source, of_source in (("a", risk), ("b", 2 * risk), ("c", random.normal(size=40))):
        pair = PairRow(source, "t", "uni2-h", "abmil", "transfer")
        result = PairResult((), pair, predictions(source, of_source), None)
        store_pair(folder, result, fingerprint="now", patients=(), seconds=0.1)
        rows.append({"source": source, "target": "t", "mode": "transfer", "standard_error": 0.05})
    rows.append({"source": "d", "target": "t", "mode": "transfer", "standard_error": np.nan})
    rows.append({"source": "t", "target": "t", "mode": "self", "standard_error": 9.0})
    covariance = error_covariances(folder, pd.DataFrame(rows))["t"]
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance.to_numpy() / np.outer(spread, spread)
    assert_allclose(correlation[0, 1], 1)
    assert abs(correlation[0, 2]) < 0.6
    assert covariance.loc["d", "d"] == pytest.approx(0.05**2), "without an error of its own, the largest"
    assert_allclose(covariance.loc["d", ["a", "b", "c"]], 0)
    assert list(covariance.columns) == ["a", "b", "c", "d"]
