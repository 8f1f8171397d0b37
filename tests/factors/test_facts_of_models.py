"""Facts from models and their predictions: whose patients each model is asked about, and which fold goes with which."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from small_studies import small_plan, write_study

from cropkt.data.bags import read_bags
from cropkt.data.study import Study, open_study
from cropkt.factors import explain
from cropkt.factors.catalogue import COHORT_FACTORS
from cropkt.factors.explain import explain_cohort, prototype_tables
from cropkt.factors.factor_tests import OUTCOME
from cropkt.factors.restricted_mean import HORIZON, pseudo_observations
from cropkt.factors.tables import FactConfig, cohort_table, pair_table, read_pairs, sample_study
from cropkt.factors.transferability import log_evidence
from cropkt.models.checkpoint import load_model
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.results import ResultsFolder, read_representations, store_pair
from cropkt.transfer.tables import write_tables

CODES = ("acc", "uvm", "kipan")
FOLDS = (0, 1, 2)
FACTS = FactConfig(patches=64, components=3, attention_patients=3, attention_patches=4)


def sweep(study: Study, out: Path, folds: Sequence[int]) -> ResultsFolder:
    """Train and measure everything in one process, as a sweep with these --folds leaves it."""
    results = ResultsFolder(out, study.encoder.name, "abmil")
    plan = small_plan(results.models)
    store_null_model(plan)
    for cohort in study.cohorts.values():
        train_cohort(plan, cohort, folds)
    for cohort in study.cohorts.values():
        held = hold_target(cohort, read_bags(cohort))
        for source in CODES:
            pair = measure_pair(load_source_models(plan, source, folds), held)
            store_pair(results, pair, fingerprint="now", patients=held.bags.patients, seconds=0.1)
    write_tables(results)
    return results


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three cohorts of 24 patients, followed for up to twelve years."""
    small = write_study(tmp_path_factory.mktemp("facts") / "study", *CODES, patients=24)
    for code in CODES:
        rows = small.rows(code)
        for row in rows[1:]:
            row[2] = str(200 + 173 * ((7 * int(row[0][-4:])) % 24))
        small.write_rows(code, rows)
    return open_study(small.folder)


@pytest.fixture(scope="module")
def results(study: Study, tmp_path_factory: pytest.TempPathFactory) -> ResultsFolder:
    return sweep(study, tmp_path_factory.mktemp("facts") / "out", FOLDS)


@pytest.fixture
def copied(results: ResultsFolder, tmp_path: Path) -> ResultsFolder:
    """The results again, to be changed."""
    return replace(results, out=shutil.copytree(results.out, tmp_path / "out"))


def log_me(study: Study, results: ResultsFolder, source: str, target: str) -> float:
    pairs = read_pairs(results)
    samples = sample_study(study, CODES, FACTS)
    table = pair_table(study, results, samples, cohort_table(study, samples, pairs), pairs, FACTS)
    return float(table.set_index(["source", "target"])["logme"][source, target])


def store_vectors(results: ResultsFolder, vectors: torch.Tensor, patients: Sequence[str]) -> None:
    """Replace the vectors (folds, patients, V) that the models of uvm give the patients of acc."""
    path = results.representations_path("uvm", "acc")
    save_file({"representation": vectors.half()}, path, metadata={"patients": json.dumps(list(patients))})


def add_noise(results: ResultsFolder, fold: int, patients: Sequence[str]) -> None:
    """Noise for the vectors that the model of `fold` of uvm gives these patients of acc."""
    vectors, known = read_representations(results, "uvm", "acc")
    for patient in patients:
        vectors[fold, known.index(patient)].normal_(generator=torch.Generator().manual_seed(1))
    store_vectors(results, vectors, known)


def tell_the_outcome(study: Study, results: ResultsFolder) -> None:
    """Vectors in which times of death can be read, in every model's with another noise."""
    vectors, patients = read_representations(results, "uvm", "acc")
    years = torch.from_numpy(study.cohorts["acc"].labels.loc[patients, "time"].to_numpy() / 365)
    vectors.normal_(generator=torch.Generator().manual_seed(2))
    vectors[:, :, 0] += years
    store_vectors(results, vectors, patients)


def test_log_evidence_is_blind_to_the_test_patients_of_its_fold(study: Study, copied: ResultsFolder) -> None:
    tell_the_outcome(study, copied)
    before = log_me(study, copied, "uvm", "acc")
    test = study.cohorts["acc"].folds[0].test
    add_noise(copied, 0, test)
    assert log_me(study, copied, "uvm", "acc") == before
    # In fold 1 the same patients train: their vectors count.
    add_noise(copied, 1, test[:1])
    assert log_me(study, copied, "uvm", "acc") != before


def test_a_source_model_goes_with_the_targets_fold_of_its_number(study: Study, tmp_path: Path) -> None:
    """A sweep with --folds 1,2: the first stored vectors are of fold 1, not of fold 0."""
    results = sweep(study, tmp_path / "out", (1, 2))
    tell_the_outcome(study, results)
    vectors, patients = read_representations(results, "uvm", "acc")
    cohort = study.cohorts["acc"]

    def evidence(model: int, fold: int) -> float:
        train = list(cohort.folds[fold].train)
        labels = cohort.labels.loc[train]
        outcome = pseudo_observations(labels["time"].to_numpy(), labels["event"].to_numpy(), HORIZON)
        return log_evidence(vectors[model, [patients.index(patient) for patient in train]].numpy(), outcome)

    found = log_me(study, results, "uvm", "acc")
    assert found == pytest.approx((evidence(0, 1) + evidence(1, 2)) / 2)
    assert found != pytest.approx((evidence(0, 0) + evidence(1, 1)) / 2)


def prototypes(study: Study, results: ResultsFolder) -> tuple[pd.DataFrame, pd.DataFrame]:
    return prototype_tables("acc", study, results, sample_study(study, CODES, FACTS), FACTS)


def attention_of(results: ResultsFolder, study: Study, source: str, fold: int) -> dict[str, np.ndarray]:
    """By patient of acc: attention of one source model over the patches of the patient's bag."""
    bags = read_bags(study.cohorts["acc"])
    model = load_model(results.models / source / f"fold_{fold}.safetensors")
    with torch.inference_mode():
        attention = model(bags.features, bags.offsets).attention.numpy()
    parts = np.split(attention, bags.offsets[1:-1].numpy())
    return dict(zip(bags.patients, parts, strict=True))


def test_attention_is_of_the_models_of_the_fold_that_tests_the_patient(
    study: Study, results: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own models are asked about no patient they were trained on, the others' are those of the same fold."""
    monkeypatch.setattr(explain, "SHOWN", 10_000)
    _, patches = prototypes(study, results)
    assert set(patches["patient_id"]) == set(study.cohorts["acc"].labels.index)
    by_fold = {(code, fold): attention_of(results, study, code, fold) for code in CODES for fold in FOLDS}
    for fold, split in enumerate(study.cohorts["acc"].folds):
        for patient in split.test:
            shown = patches[patches["patient_id"] == patient].sort_values(["slide", "patch"])
            assert_allclose(shown["own"], by_fold["acc", fold][patient], rtol=1e-4)
            others = (by_fold["uvm", fold][patient] + by_fold["kipan", fold][patient]) / 2
            assert_allclose(shown["others"], others, rtol=1e-4)
    # The models of two folds look at different patches, so the test could have failed.
    first = study.cohorts["acc"].folds[0].test[0]
    assert not np.allclose(by_fold["acc", 0][first], by_fold["acc", 1][first], rtol=1e-3)


def test_risk_by_the_own_models_and_by_the_others_come_from_their_own_predictions(
    study: Study, copied: ResultsFolder
) -> None:
    before = prototypes(study, copied)[0].set_index("prototype").sort_index()
    for source in ("uvm", "kipan"):
        path = copied.predictions_path(source, "acc")
        table = pd.read_parquet(path)
        table.assign(risk=-table["risk"]).to_parquet(path)
    after = prototypes(study, copied)[0].set_index("prototype").sort_index()
    assert_allclose(after["risk_own"], before["risk_own"])
    # Ranks turned round within folds: correlations change their sign, but for ties.
    assert_allclose(after["risk_others"], -before["risk_others"], atol=0.05)
    assert before["risk_others"].abs().max() > 0.1
    assert_allclose(after["disagreement"], (after["risk_own"] - after["risk_others"]).abs())


def test_prototype_shares_are_of_the_cohorts_own_patches_and_of_the_other_cohorts(
    study: Study, results: ResultsFolder
) -> None:
    table, _ = prototypes(study, results)
    assert_allclose(table["share"].sum(), 1)
    assert_allclose(table["share_elsewhere"].sum(), 1)
    assert_allclose((table["attention_own"] * table["share"]).sum(), 1)


def test_elsewhere_is_other_cohorts(study: Study, results: ResultsFolder) -> None:
    """Sampled patches of acc are moved where no other cohort has any: their prototypes are nowhere else."""
    samples = sample_study(study, CODES, FACTS)
    samples["acc"] = replace(samples["acc"], patches=samples["acc"].patches + 50)
    table, _ = prototype_tables("acc", study, results, samples, FACTS)
    assert ((table["share"] == 0) & (table["share_elsewhere"] == 0)).any()
    assert_allclose(table["share_elsewhere"].sum(), 1)


@pytest.mark.parametrize("missing", ["models", "predictions"])
def test_without_models_or_predictions_there_are_no_prototypes(
    study: Study, copied: ResultsFolder, missing: str
) -> None:
    paths = {
        "models": copied.models / "acc" / "fold_1.safetensors",
        "predictions": copied.predictions_path("acc", "acc"),
    }
    paths[missing].unlink()
    table, patches = prototypes(study, copied)
    assert table.empty
    assert patches.empty


def test_an_explanation_is_of_the_cohort_asked_about(study: Study, results: ResultsFolder) -> None:
    """acc has the most patients; as a target its pair with uvm lies four standard errors below what is expected."""
    samples = sample_study(study, CODES, FACTS)
    measured = read_pairs(results)
    cohorts = cohort_table(study, samples, measured).assign(log_patients=[3.0, 2.0, 1.0])
    pairs = pair_table(study, results, samples, cohorts, measured, FACTS)
    expected = np.full(len(pairs), 0.6)
    outcome = np.where((pairs["source"] == "uvm") & (pairs["target"] == "acc"), 0.5, 0.6)
    pairs = pairs.assign(**{OUTCOME: outcome, "standard_error": 0.02})
    effects = pd.DataFrame({"cohort": CODES, "source_effect": [0.01, 0.02, 0.03], "target_effect": [0.3, 0.2, 0.1]})
    names = [f"{side}:{factor.name}" for side in ("source", "target") for factor in COHORT_FACTORS]
    factors = pd.DataFrame({"factor": names, "coefficient": range(len(names)), "q_value": 0.5})
    null = SimpleNamespace(fitted=expected, variance={"pair": 0.015**2})
    analysis: Any = SimpleNamespace(factors=factors, effects=effects, null=null)
    found = explain_cohort("acc", study, results, samples, (cohorts, pairs), analysis, FACTS)
    patients = next(factor for factor in COHORT_FACTORS if factor.name == "log_patients")
    fact = found.facts.set_index("fact").loc[patients.label]
    assert (fact["value"], fact["rank"], fact["deviation"]) == (3, 1, 1)
    assert fact["effect_as_source"] == names.index("source:log_patients")
    assert fact["effect_as_target"] == names.index("target:log_patients")
    assert set(found.pairs["source"]) | set(found.pairs["target"]) == set(CODES)
    assert ((found.pairs["source"] == "acc") | (found.pairs["target"] == "acc")).all()
    oddest = found.pairs.iloc[0]
    assert (oddest["source"], oddest["target"]) == ("uvm", "acc")
    assert oddest["deviation"] == pytest.approx(-4)
    assert "as a source +0.010 against the average (rank 3 of 3)" in found.sentences[0]
    assert "as a target +0.300 against the average (rank 1 of 3)" in found.sentences[0]
    assert "UVM on ACC is 0.500, -4.0 standard errors" in found.sentences[1]
    assert len(found.prototypes) == explain.PROTOTYPES
