"""Published TCGA feature sets become studies: every bag its patient's, on one scale, and no label is looked at."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from cropkt.data.bags import read_bags
from cropkt.data.study import open_study
from cropkt.data.tcga import FeatureSet, build_study, read_feature_set, scaled
from cropkt.errors import StudyError
from cropkt.experiments.commands.studies.build_tcga import main

COHORTS = ("acc", "uvm", "stes")
REPOSITORY = Path(__file__).resolve().parents[2]


def feature_set(values: np.ndarray, cohorts: list[str], kinds: list[str] | None = None) -> FeatureSet:
    rows = pd.DataFrame({"cohort": cohorts, "kind": kinds or [""] * len(cohorts)})
    return FeatureSet("made", rows.assign(patient_id="P", project="X"), values.astype(np.float32))


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_pooled_scores_keep_the_difference_between_cohorts(random: np.random.Generator) -> None:
    values = np.concatenate([random.normal(5, 1, (200, 2)), random.normal(9, 1, (200, 2))])
    made = feature_set(values, ["acc"] * 200 + ["uvm"] * 200)
    pooled, apart = scaled(made, "pooled"), scaled(made, "cohort")
    np.testing.assert_allclose(pooled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(pooled.std(axis=0), 1, rtol=1e-5)
    assert (pooled[200:].mean(axis=0) - pooled[:200].mean(axis=0) > 1.5).all()
    for part in (apart[:200], apart[200:]):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(part.std(axis=0), 1, rtol=1e-5)


def skewness(values: np.ndarray) -> float:
    return float(((values - values.mean()) ** 3).mean() / values.std() ** 3)


@pytest.mark.parametrize("unit", [1e-4, 1e6])
def test_skewed_features_are_evened_out_whatever_their_unit(random: np.random.Generator, unit: float) -> None:
    values = random.lognormal(0, 1.5, (2000, 1))
    assert skewness(values) > 5
    scores = scaled(feature_set(values, ["acc"] * 2000), "pooled")
    assert abs(skewness(scores)) < 1.5
    assert (np.diff(scores[np.argsort(values[:, 0]), 0]) >= 0).all()
    in_unit = scaled(feature_set(unit * values, ["acc"] * 2000), "pooled")
    np.testing.assert_allclose(in_unit, scores, atol=1e-4)


def test_even_features_are_left_straight(random: np.random.Generator) -> None:
    values = random.uniform(0, 1, (500, 1))
    scores = scaled(feature_set(values, ["acc"] * 500), "pooled")
    assert np.corrcoef(scores[:, 0], values[:, 0])[0, 1] > 0.999999


def test_kinds_are_scaled_apart_and_told_by_columns(random: np.random.Generator) -> None:
    values = np.concatenate([random.normal(0.1, 0.01, (50, 3)), random.normal(1e6, 1e5, (50, 3))])
    scores = scaled(feature_set(values, ["acc"] * 100, ["epic"] * 50 + ["mcp"] * 50), "pooled")
    assert scores.shape == (100, 5)
    for part in (scores[:50, :3], scores[50:, :3]):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(part.std(axis=0), 1, rtol=1e-4)
    np.testing.assert_array_equal(scores[:, 3:], np.repeat(np.eye(2), 50, axis=0))


@pytest.mark.parametrize("standardise", ["pooled", "cohort"])
def test_missing_constant_and_wild_values_are_finite(random: np.random.Generator, standardise: str) -> None:
    values = random.normal(0, 1, (60, 4))
    values[:30, 0] = np.nan  # all of one cohort
    values[:, 1] = np.nan  # everywhere
    values[:, 2] = 0.3
    values[5, 3] = 1e9
    scores = scaled(feature_set(values, ["acc"] * 30 + ["uvm"] * 30), standardise)
    assert (scores[:30, 0] == 0).all()
    assert scores[30:, 0].std() > 0.5
    assert (scores[:, 1:3] == 0).all()
    assert np.abs(scores).max() <= 5


def test_an_unknown_way_to_standardise_is_refused() -> None:
    with pytest.raises(StudyError, match="'pool'; it must be one of pooled, cohort"):
        scaled(feature_set(np.zeros((2, 1)), ["acc", "acc"]), "pool")


@pytest.fixture
def real_set(real_data: Path, tmp_path: Path) -> Path:
    """Three cohorts of the deconvolution scores; quanTIseq is missing in two of them."""
    folder = tmp_path / "tme_deconvolution"
    folder.mkdir()
    for code in COHORTS:
        shutil.copy(real_data / "features" / "tme_deconvolution" / f"{code}.h5", folder)
    return folder


def test_a_real_set_opens_as_a_study_of_the_patients_it_has(real_data: Path, real_set: Path, tmp_path: Path) -> None:
    counts = build_study(real_data / "labels", real_set, tmp_path / "out").set_index("cohort")
    published = pd.read_csv(real_data / "features" / "tme_deconvolution" / "counts.csv").set_index("cohort")
    labelled = pd.read_csv(real_data / "labels" / "counts.csv").set_index("cohort")["patients"]
    study = open_study(tmp_path / "out")
    assert set(study.cohorts) == set(COHORTS)
    assert study.encoder.dim == 68
    for code, cohort in study.cohorts.items():
        row = published.loc[code]
        assert (len(cohort.labels), cohort.labels["event"].sum()) == (row["patients_with_dss"], row["events"])
        assert (counts.loc[code, "patients"], counts.loc[code, "events"]) == (row["patients_with_dss"], row["events"])
        assert counts.loc[code, "left_out"] == labelled[code] - row["patients_with_dss"]
        bags = read_bags(cohort)
        assert bags.patients == tuple(cohort.labels.index)
        assert len(bags.features) == counts.loc[code, "rows"]
        assert bags.features.isfinite().all()
        assert bags.features.abs().max() <= 5


def test_every_bag_is_its_own_patients(real_data: Path, real_set: Path, tmp_path: Path) -> None:
    """Scaling keeps the order of a feature, so patients must stand in the order of their published values."""
    build_study(real_data / "labels", real_set, tmp_path / "out")
    bags = read_bags(open_study(tmp_path / "out").cohorts["acc"])
    with h5py.File(real_set / "acc.h5") as file:
        column = json.loads(file.attrs["feature_names"]).index("cibersort__Macrophage_M2")
        published = [file[patient]["features"][0, column] for patient in bags.patients]
    rows = bags.offsets[:-1]
    assert np.argsort(bags.features[rows, column].numpy()).tolist() == np.argsort(published).tolist()


def test_no_label_reaches_the_features(real_data: Path, real_set: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for code in COHORTS:
        table = pd.read_csv(real_data / "labels" / f"{code}_survival.csv")
        table.assign(t=1, e=1 - table["e"]).to_csv(labels / f"{code}_survival.csv", index=False)
    build_study(real_data / "labels", real_set, tmp_path / "one")
    build_study(labels, real_set, tmp_path / "other")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").glob("features/*/*.h5"))
    assert len(files) > 700
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_compartments_methods_and_tables_are_read(real_data: Path, tmp_path: Path) -> None:
    nuclei = read_feature_set(real_data / "features" / "crc_nuclear_morphology")
    assert (nuclei.values.shape[1], set(nuclei.rows["cohort"]), set(nuclei.rows["kind"])) == (30, {"coadread"}, {""})
    shutil.copy(real_data / "features" / "hif" / "stes.h5", tmp_path)
    tissue = read_feature_set(tmp_path)
    assert tissue.values.shape == (376 * 4, 113)
    assert set(tissue.rows["kind"]) == {"EPITHELIAL", "ESI_0080", "STROMA", "TUMOR"}
    shutil.copy(real_data / "features" / "tme_method_bags" / "stes.h5", tmp_path)
    methods = read_feature_set(tmp_path)
    assert set(methods.rows["kind"]) == {"cibersort", "epic", "mcp", "timer", "xcell"}  # no quanTIseq for stes
    shutil.copy(real_data / "features" / "hif" / "skcm.h5", tmp_path)
    with pytest.raises(StudyError, match=r"stes.h5: 12 features, other cohorts have 113|113 features, .* have 12"):
        read_feature_set(tmp_path)


def test_the_command_prints_counts_and_refuses_a_folder_in_use(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    features = real_data / "features" / "crc_nuclear_morphology"
    arguments = ["--labels", str(real_data / "labels"), "--features", str(features), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["coadread", "292", "36", "294", "314"]
    assert main(arguments) == 2
    assert "is not empty; give --out a new folder" in capsys.readouterr().err
    assert main([*arguments[:2], "--features", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "holds no <cohort>.h5" in capsys.readouterr().err
