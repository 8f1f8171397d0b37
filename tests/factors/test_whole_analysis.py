"""From a study and a sweep's folder to tables, pictures, the report's section, a page about a cohort, and MLflow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kept_artifacts import artifacts, references

from cropkt.data.bags import read_bags
from cropkt.data.study import open_study
from cropkt.errors import ConfigError
from cropkt.experiments.config import FactorsConfig, StudyConfig, TrackingConfig
from cropkt.experiments.factors import analyse_factors, check_controls
from cropkt.factors.config import FactConfig
from cropkt.models.mil import Architecture
from cropkt.report.sections.store import section_path
from cropkt.simulation.study import SimulationConfig, simulate_study
from cropkt.training.config import TrainingConfig
from cropkt.training.sources import SourcePlan, load_source_models, store_null_model, train_cohort
from cropkt.transfer.assemble import write_tables
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair

COHORTS = ("blca", "hnsc", "coadread", "stes", "sarc", "skcm", "meso")
FOLDS = (0, 1)
QUIET = TrackingConfig(wanted=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> FactorsConfig:
    """A small simulated study and the results of a sweep on it; one pair has failed."""
    root = tmp_path_factory.mktemp("factors")
    simulate_study(root / "study", SimulationConfig(cohorts=COHORTS, patients=0.4, patches=(8, 20), dim=16, folds=2))
    study = open_study(root / "study")
    results = ResultsFolder((root / "out").resolve(), study.encoder.name, "abmil")
    architecture = Architecture(features=16, embedding=16, attention=8)
    training = TrainingConfig(epochs=4, learning_rate=1e-2)
    plan = SourcePlan(results.models.path, architecture, training, seed=0)
    store_null_model(plan)
    for cohort in study.cohorts.values():
        train_cohort(plan, cohort, FOLDS)
    for target, cohort in study.cohorts.items():
        held = hold_target(cohort, read_bags(cohort))
        for source in COHORTS:
            if (source, target) == ("meso", "blca"):
                store_failure(results, source, target, "its worker died")
                continue
            pair = measure_pair(load_source_models(plan, source, FOLDS), held)
            store_pair(results, pair, fingerprint="now", patients=held.bags.patients, seconds=0.1)
    write_tables(results, lambda *_: "now")
    facts = FactConfig(patches=64, components=8, attention_patients=4, attention_patches=8)
    return FactorsConfig(
        StudyConfig(root / "study", out=results.out),
        facts,
        TrackingConfig(experiment="sweep"),
        permutations=99,
        explain=("sarc",),
    )


@pytest.mark.usefixtures("quick_pictures")
def test_an_analysis_writes_all_it_promises_and_the_same_seed_the_same(
    measured: FactorsConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    assert analyse_factors(measured) == 0
    said = capsys.readouterr().out
    assert "of the variance of the C-index" in said.replace("Of", "of")
    out = measured.study.out
    assert out is not None
    cohorts, pairs = pd.read_parquet(out / "factors_cohort.parquet"), pd.read_parquet(out / "factors_pair.parquet")
    assert sorted(cohorts["cohort"]) == sorted(COHORTS)
    assert len(pairs) == len(COHORTS) * (len(COHORTS) - 1)
    failed = pairs[(pairs["source"] == "meso") & (pairs["target"] == "blca")]
    assert failed["c_index_pooled"].isna().all()
    for name in ("mmd_patches", "frechet_patients", "weight_cosine", "attention_overlap", "rmst_gap"):
        assert np.isfinite(pairs[name]).all(), name
    for name in ("cka", "logme"):
        assert np.isfinite(pairs[name]).sum() == len(pairs) - 1, name
    same = pairs[pairs["same_group"] == 1]
    assert {("blca", "hnsc"), ("coadread", "stes")} <= set(zip(same["source"], same["target"], strict=True))
    measured_pairs = pd.read_parquet(out / "pairs.parquet")
    both = pairs.merge(measured_pairs, on=["source", "target"], suffixes=("", "_sweep"))
    pd.testing.assert_series_equal(both["c_index_pooled"], both["c_index_pooled_sweep"], check_names=False)
    factors = pd.read_csv(out / "regression_factors.csv")
    assert {"irrelevant_pair", "source:irrelevant_cohort", "target:event_rate", "mmd_patches"} <= set(factors["factor"])
    assert factors["p_value"].between(0.01, 1).all()
    tables = ("intra_ols", "inter_ols", "inter_beta", "inter_mixed", "joint", "variance", "horizons", "prediction")
    for name in tables:
        assert len(pd.read_csv(out / f"regression_{name}.csv")), name
    section = section_path(ResultsFolder(out, "simulated", "abmil"), "factors").read_text()
    assert section.count("<section") == section.count("</section>") == 1
    assert section.count("<table") == section.count("</table>") == 9
    assert section.count("<details") == section.count("</details>")
    assert "http" not in section
    assert "What is odd about SARC" in section
    report = (out / "report.html").read_text()
    assert 'href="#factors"' in report
    assert section.partition("</h2>")[2].strip() in report
    page = (out / "factors_explain_sarc.html").read_text()
    assert "What is odd about SARC" in page
    assert "prototype" in page
    store = f"sqlite:///{out}/mlflow.db"
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    assert run.data.tags["cropkt.kind"] == "factors"
    assert "q_value/same_group" in run.data.metrics
    assert {"regression_factors.csv", "factors_effects.png"} <= artifacts(store, run)
    assert {"factors_pair.parquet", "report.html"} <= set(references(store, run))

    # Again, with a store that is down: the same numbers, and nothing is lost. The pictures are there.
    pictures = {path.stem.removeprefix("factors_"): path for path in out.glob("factors_*.png")}
    monkeypatch.setattr("cropkt.experiments.factors.draw_all", lambda *_: pictures)
    names = ("regression_factors.csv", "regression_prediction.csv")
    first = [(out / name).read_bytes() for name in names]
    assert analyse_factors(replace(measured, tracking=TrackingConfig(uri="http://127.0.0.1:9"), explain=())) == 1
    assert "MLflow could not be used" in capsys.readouterr().out
    assert [(out / name).read_bytes() for name in names] == first
    found = check_controls(out, "simulated", "abmil", seeds=2, seed=5).set_index("factor")
    assert found.loc["irrelevant_pair", "draws"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"explain": ("thca",)}, "--explain: the results have no cohort thca; they have blca, coadread"),
        ({"study": {"architecture": "mean"}}, "no pair of encoder simulated and architecture mean"),
        ({"study": {"out": Path("nowhere")}}, "no pairs.parquet here; run scripts/sweep_transfer.py"),
    ],
)
def test_wrong_input_says_what_to_do(measured: FactorsConfig, change: dict[str, Any], message: str) -> None:
    if "study" in change:
        change = {"study": replace(measured.study, **change["study"])}
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        analyse_factors(replace(measured, tracking=QUIET, **change))


def test_results_of_another_study_or_too_few_cohorts_are_refused(measured: FactorsConfig, tmp_path: Path) -> None:
    assert measured.study.out is not None
    pairs = pd.read_parquet(measured.study.out / "pairs.parquet")
    few = pairs[pairs["source"].isin(COHORTS[:4]) & pairs["target"].isin(COHORTS[:4])]
    few.to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(ConfigError, match=r"4 cohorts .* factors need 6 or more"):
        analyse_factors(replace(measured, study=replace(measured.study, out=tmp_path), tracking=QUIET, explain=()))
    pairs.replace({"target": {"meso": "acc"}}).to_parquet(tmp_path / "pairs.parquet")
    with pytest.raises(ConfigError, match="has not: acc"):
        analyse_factors(replace(measured, study=replace(measured.study, out=tmp_path), tracking=QUIET, explain=()))
