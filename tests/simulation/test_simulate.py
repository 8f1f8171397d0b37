"""A simulated study reads like a published one, is the same for the same seed, and its truth file tells the truth."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from cropkt.cohorts import COHORTS
from cropkt.data.bags import read_bags
from cropkt.data.slide_files.features import read_coordinates
from cropkt.data.study import Study, open_study
from cropkt.errors import ConfigError, StudyError
from cropkt.seeds import generator
from cropkt.simulation.config import SIZES
from cropkt.simulation.population import build_cohorts, censoring_times, event_times
from cropkt.simulation.study import SimulationConfig, simulate_study
from cropkt.simulation.truth import pair_truth, true_c_index

SMALL = SimulationConfig(
    seed=3, cohorts=("blca", "cesc", "kipan", "lung", "sarc", "uvm"), patients=0.3, patches=(4, 9), dim=16
)
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_study.py"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("simulated") / "demo"
    simulate_study(folder, SMALL)
    return open_study(folder)


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """All 676 pairs of the demo study."""
    return pair_truth(build_cohorts(SimulationConfig()), SimulationConfig().seed)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    few = replace(SMALL, cohorts=("sarc", "uvm"))
    for name, config in (("one", few), ("two", few), ("other", replace(few, seed=4))):
        simulate_study(tmp_path / name, config)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    other = contents(tmp_path / "other")
    assert other["truth.parquet"] != one["truth.parquet"]
    assert not set(other.values()) & {digest for file, digest in one.items() if file.endswith(".h5")}


def test_a_cohort_does_not_depend_on_the_others(tmp_path: Path, small: Study) -> None:
    simulate_study(tmp_path / "demo", replace(SMALL, cohorts=("uvm",)))
    alone, beside = contents(tmp_path / "demo"), contents(small.folder)
    of_uvm = [file for file in alone if file.startswith("features") or file == "labels/uvm.csv"]
    assert len(of_uvm) > 15
    assert {file: alone[file] for file in of_uvm} == {file: beside[file] for file in of_uvm}


def test_the_study_opens_and_its_bags_are_read(small: Study) -> None:
    assert tuple(small.cohorts) == SMALL.cohorts
    assert small.name.startswith("demo-groups-3-")  # not runs/demo, where the results of the demo study go
    assert {len(cohort.folds) for cohort in small.cohorts.values()} == {5}
    several = 0
    for code, cohort in small.cohorts.items():
        bags = read_bags(cohort, strict=True)
        assert len(bags) == SMALL.patients_of(code)
        assert bags.features.shape[1] == 16
        assert 4 <= int(bags.lengths.min()) <= int(bags.lengths.max()) <= 9
        several += int(cohort.slides["patient_id"].duplicated().sum())
        first = read_coordinates(cohort.slides["path"].iloc[0])
        assert first is not None
        assert len(np.unique(first, axis=0)) == cohort.slides["patches"].iloc[0]
    assert several > 0
    assert set(small.cohorts["kipan"].labels["project"]) == {"TCGA-KIRC", "TCGA-KIRP", "TCGA-KICH"}


def test_patients_truth_names_every_patient(small: Study) -> None:
    table = pd.read_parquet(small.folder / "truth_patients.parquet")
    for code, cohort in small.cohorts.items():
        of_cohort = table[table["cohort"] == code].set_index("patient_id")
        assert set(of_cohort.index) == set(cohort.labels.index)
        fractions = of_cohort.filter(like="fraction_")
        np.testing.assert_allclose(fractions.sum(axis=1), 1)
    assert table["patient_id"].is_unique


def test_patches_show_the_fractions_of_the_truth(tmp_path: Path) -> None:
    config = replace(SMALL, cohorts=("uvm",), patches=(80, 80))
    simulate_study(tmp_path / "demo", config)
    model = build_cohorts(config)["uvm"]
    bags = read_bags(open_study(tmp_path / "demo").cohorts["uvm"])
    centres = model.prototypes + model.shift
    kind = np.linalg.norm(bags.features.numpy()[:, None, :] - centres, axis=2).argmin(axis=1)
    shown = np.array([np.bincount(part, minlength=5) / 80 for part in kind.reshape(len(bags), 80)])
    table = pd.read_parquet(tmp_path / "demo" / "truth_patients.parquet").set_index("patient_id")
    truly = table.loc[list(bags.patients)].filter(like="fraction_").to_numpy()
    # 80 patches drawn from fractions p err by sqrt(p (1 - p) / 80), 0.056 at most.
    assert np.abs(shown - truly).max() < 5 * 0.056
    assert np.corrcoef(shown.ravel(), truly.ravel())[0, 1] > 0.95


def test_events_and_follow_up_are_those_planned() -> None:
    for code, model in build_cohorts(SimulationConfig()).items():
        random = np.random.default_rng(1)
        drawn = model.draw(20_000, random)
        deaths = event_times(drawn.log_risk, model.scale, random)
        leaves = censoring_times(SIZES[code], 20_000, random)
        assert (deaths <= leaves).mean() == pytest.approx(SIZES[code].events, abs=0.02), code
        assert (leaves == 0).mean() == pytest.approx(0.015, abs=0.004)
        assert np.std(drawn.log_risk) == pytest.approx(SimulationConfig().effect, rel=0.05)


@pytest.mark.parametrize(("source", "target"), [("blca", "blca"), ("blca", "hnsc"), ("sarc", "lung"), ("cesc", "ucs")])
def test_true_c_index_is_what_many_patients_show(truth: pd.DataFrame, source: str, target: str) -> None:
    models = build_cohorts(SimulationConfig())
    random = np.random.default_rng(5)
    drawn = models[target].draw(4000, random)
    times = event_times(drawn.log_risk, models[target].scale, random)
    score = drawn.log_risk if source == target else models[source].score_others(drawn)
    observed = concordance_index_censored(np.ones(4000, bool), times, score)[0]
    written = truth.set_index(["source", "target"]).loc[(source, target), "c_index_true"]
    assert written == pytest.approx(observed, abs=0.015)


def test_true_c_index_of_known_cases() -> None:
    log_risk = np.random.default_rng(0).normal(size=50_000)
    certain = 1e6 * log_risk
    assert true_c_index(log_risk, certain) == pytest.approx(1, abs=1e-5)
    assert true_c_index(-log_risk, certain) == pytest.approx(0, abs=1e-5)
    assert true_c_index(np.zeros(50_000), log_risk) == 0.5


def test_groups_share_and_the_reversed_cohort_misleads(truth: pd.DataFrame) -> None:
    assert len(truth) == 26 * 26
    own = truth[truth["source"] == truth["target"]]
    assert own["true_weight_correlation"].to_numpy() == pytest.approx(1)
    between = truth[truth["source"] != truth["target"]]
    reversed_, plain = between[between["reversed"]], between[~between["reversed"]]
    grouped = plain[plain["same_group"]]["c_index_true"]
    apart = plain[~plain["same_group"]]["c_index_true"]
    # No score of a target's patients can beat their own log-risk.
    assert (own.set_index("target")["c_index_true"] == truth.groupby("target", sort=False)["c_index_true"].max()).all()
    assert grouped.mean() > apart.mean() + 0.08
    assert 0.5 < apart.mean() < 0.62
    assert set(reversed_["source"]) | set(reversed_["target"]) == set(COHORTS)
    assert reversed_["c_index_true"].mean() < 0.45
    assert plain["distance"].corr(plain["c_index_true"], method="spearman") < -0.5
    assert plain["true_weight_correlation"].corr(plain["c_index_true"], method="spearman") > 0.95


def test_without_transfer_every_pair_is_null() -> None:
    config = SimulationConfig(transfer="none")
    models = build_cohorts(config)
    assert (pair_truth(models, config.seed)["c_index_true"] == 0.5).all()
    # What the file says holds for patients drawn anew, whatever one looks at; 0.02 is 4 standard errors.
    for code in ("blca", "sarc", "chol"):
        random = generator(0, code)
        drawn = models[code].draw(5000, random)
        times = event_times(drawn.log_risk, models[code].scale, random)
        for looked_at in (drawn.fractions[:, 0], models["hnsc"].score_others(drawn)):
            assert concordance_index_censored(np.ones(5000, bool), times, looked_at)[0] == pytest.approx(0.5, abs=0.02)


def cox_c_index(mean: np.ndarray, study: Study, log_risk: np.ndarray) -> float:
    """True C-index, on the second half of a cohort, of a ridge Cox model of `mean` (B, E) fitted on the first half."""
    labels = study.cohorts["blca"].labels
    half = len(mean) // 2
    scaled = (mean - mean[:half].mean(axis=0)) / (mean[:half].std(axis=0) + 1e-9)
    outcome = Surv.from_arrays(labels["event"].to_numpy().astype(bool), labels["time"].to_numpy() + 1)
    fitted = CoxPHSurvivalAnalysis(alpha=10.0).fit(scaled[:half], outcome[:half])
    return true_c_index(fitted.predict(scaled[half:]), log_risk[half:])


@pytest.mark.parametrize("signal", ["few", "max"])
def test_a_few_patches_hold_what_the_mean_patch_hides(tmp_path: Path, signal: str) -> None:
    config = replace(SMALL, signal=signal, cohorts=("blca",), patients=4.0, patches=(32, 160), dim=32)
    simulate_study(tmp_path / "study", config)
    study = open_study(tmp_path / "study")
    model = build_cohorts(config)["blca"]
    bags = read_bags(study.cohorts["blca"])
    table = pd.read_parquet(tmp_path / "study" / "truth_patients.parquet").set_index("patient_id")
    log_risk = table.loc[list(bags.patients), "log_risk"].to_numpy()
    assert np.std(log_risk) == pytest.approx(config.effect, rel=0.1)
    slides = torch.split(bags.features, bags.lengths.tolist())
    mean = np.stack([slide.mean(dim=0).numpy() for slide in slides])
    assert model.look is not None
    along = [slide.numpy() @ model.look.axes.T for slide in slides]
    if signal == "few":
        rare = [np.linalg.norm(slide.numpy() - model.look.rare - model.shift, axis=1).argmin() for slide in slides]
        told = np.stack([place[patch] for place, patch in zip(along, rare, strict=True)])
    else:
        told = np.stack([place.max(axis=0) for place in along])
    knows = cox_c_index(told, study, log_risk)
    assert knows > true_c_index(log_risk, log_risk) - 0.05
    assert knows > cox_c_index(mean, study, log_risk) + 0.1


@pytest.mark.parametrize("signal", ["few", "max"])
def test_groups_share_traits_too(signal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cropkt.simulation.truth.FRESH_PATIENTS", 2000)
    config = SimulationConfig(signal=signal)
    truth = pair_truth(build_cohorts(config), config.seed)
    between = truth[truth["source"] != truth["target"]]
    plain = between[~between["reversed"]]
    grouped, apart = plain[plain["same_group"]]["c_index_true"], plain[~plain["same_group"]]["c_index_true"]
    assert grouped.mean() > apart.mean() + 0.08
    assert between[between["reversed"]]["c_index_true"].mean() < 0.45


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StudyError, match="not an empty folder"):
        simulate_study(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfer": "some"}, "transfer is 'some'"),
        ({"signal": "mean"}, "signal is 'mean'"),
        ({"signal": "few", "dim": 10}, "dim is 10; the prototypes need 11"),
        ({"cohorts": ("acc", "nope")}, "nope"),
        ({"patches": (9, 4)}, "patches is 9 to 4"),
        ({"dim": 3}, "dim is 3"),
        ({"patients": 0.0}, "patients is 0.0"),
        ({"folds": 1}, "folds is 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


@pytest.mark.system
def test_a_killed_simulation_leaves_no_study(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    process = subprocess.Popen([sys.executable, SCRIPT, "--out", out])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.h5")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.rglob("*.h5"))
    assert not out.exists()
    assert not list(tmp_path.rglob("study.yaml"))


@pytest.mark.system
def test_the_script_simulates_and_refuses(tmp_path: Path) -> None:
    def run(*flags: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, flags)], capture_output=True, text=True, timeout=60, check=False
        )

    size = ("--cohorts", "ACC,uvm", "--patients", "0.2", "--patches", 3, 5, "--dim", 16, "--transfer", "none")
    done = run("--out", tmp_path / "made", "--seed", 5, *size)
    assert done.returncode == 0, done.stderr
    assert set(open_study(tmp_path / "made").cohorts) == {"acc", "uvm"}
    for flags in (("--out", tmp_path / "made", *size), ("--out", tmp_path / "x", "--cohorts", "acc,lunk")):
        refused = run(*flags)
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: ")
        assert "Traceback" not in refused.stderr
