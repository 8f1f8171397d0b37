"""What a library tells of survival is right for patients whom it has never seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from held_out import GROUPS, Patients, cells, mean_survival
from made_library import patches, sweep
from small_studies import SmallStudy, write_study

from cropkt.data.slide_files.features import write_h5
from cropkt.experiments.commands import main
from cropkt.portable.bundle import Library
from cropkt.portable.export import ExportSettings, export_library

DAYS = 365 * np.arange(1, 4)
MEDIAN = 1000.0
"""Days, of a patient of mean danger."""


def outcome(danger: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Times and events with proportional hazards; who leaves early leaves whatever the danger."""
    death = MEDIAN / np.log(2) * random.exponential(size=len(danger)) * np.exp(-danger)
    leaves = random.exponential(3000, size=len(danger))
    return np.ceil(np.minimum(death, leaves)), (death <= leaves).astype(int)


def truth(danger: np.ndarray) -> np.ndarray:
    """(B, T) probability to outlive DAYS."""
    return np.exp(-np.log(2) * np.exp(danger)[:, None] * DAYS / MEDIAN)


def plant(small: SmallStudy, code: str) -> None:
    """Slides that say the danger, and times that follow from it."""
    random, rows = np.random.default_rng(sum(map(ord, code))), small.rows(code)
    names = sorted({row[0] for row in rows[1:]})
    danger = random.normal(size=len(names))
    of_patient = {name: cell for name, *cell in zip(names, danger, *outcome(danger, random), strict=True)}
    for row in rows[1:]:
        risk, time, event = of_patient[row[0]]
        row[2], row[3] = str(int(time)), str(event)
        small.write_slide(row[4].removeprefix("TCGA-"), row[1], patches(risk, row[1], random))
    small.write_rows(code, rows)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("held_out")
    small = write_study(folder / "study", "acc", "uvm", patients=90)
    for code in ("acc", "uvm"):
        plant(small, code)
    study, results = sweep(small, folder)
    return export_library(results, study, folder / "library", ExportSettings(), report=lambda _: None)


@pytest.mark.parametrize("source", ["uvm", "acc"])
def test_survival_of_patients_of_a_hospital_is_theirs(library: Library, source: str, tmp_path: Path) -> None:
    """`predict` for 600 new patients of one cohort, by its own models and by another's: mean survival of all and of the
    thirds by risk is the true one, but for the error of a curve learnt from 90 patients."""
    random, count = np.random.default_rng(5), 600
    danger = random.normal(size=count)
    (tmp_path / "new").mkdir()
    for number, risk in enumerate(danger):
        slide = f"P{number:022d}"
        features = patches(risk, slide, random)
        write_h5(tmp_path / "new" / f"{slide}.h5", features, np.zeros((len(features), 2), np.int32))
    out = tmp_path / "risks.parquet"
    given = ["--library", str(library.folder), "--features", str(tmp_path / "new"), "--out", str(out)]
    assert main(["predict", *given, "--source", source, "--cohort", "acc", "--years", "3"]) == 0
    told = pd.read_parquet(out)
    assert list(told["patient_id"]) == [f"P{number:022d}" for number in range(count)]
    survival = told[[f"survival_year_{year}" for year in (1, 2, 3)]].to_numpy()
    calibration = library.reference(source, "acc").calibration
    assert calibration is not None
    order = np.argsort(told["risk"].to_numpy())
    for part in (order, *np.array_split(order, 3)):
        mean, error = mean_survival(calibration, told["risk"].to_numpy()[part], DAYS)
        assert np.allclose(mean, survival[part].mean(axis=0))
        assert (np.abs(mean - truth(danger[part]).mean(axis=0)) < 2.5 * error).all()
    lowest, highest = order[: count // 3], order[-count // 3 :]
    assert (survival[lowest].mean(axis=0) - survival[highest].mean(axis=0) > 0.2).all(), "the risk tells something"


def cohort(patients: int, random: np.random.Generator, blur: float = 1.0) -> Patients:
    """Five models that see the danger through a common blur and one of their own; each patient is unseen by all."""
    danger = random.normal(size=patients)
    seen = danger + blur * random.normal(size=patients) + 0.3 * random.normal(size=(5, patients))
    return Patients(*outcome(danger, random), seen)


def told(learnt_from: str, repeats: int = 60) -> pd.DataFrame:
    """The cells of many cohorts: references of 60 patients, read for 60 others."""
    found = []
    for seed in range(repeats):
        random = np.random.default_rng([3, seed])
        learnt, held = cohort(60, random), cohort(60, random)
        if learnt_from == "patients the models have seen":  # whom they know better than by their slides
            known = np.log(learnt.time)
            learnt = Patients(learnt.time, learnt.event, learnt.risk - known + known.mean())
        if learnt_from == "a cohort that lives longer":
            learnt = Patients(2.5 * learnt.time, learnt.event, learnt.risk)
        found.append(cells(learnt, held))
    return pd.concat(found)


def within(found: pd.DataFrame) -> pd.Series:
    """Share of cells within 2 errors, by group."""
    near = (found["told"] - found["observed"]).abs() < 2 * found["error"]
    return near.groupby(found["group"]).mean()


def test_two_errors_hold_what_they_should() -> None:
    """The error is that of the reference and that of the estimate together: 95 % of differences are within two."""
    found = told("unseen patients")
    assert set(found["group"]) == set(GROUPS)
    assert (within(found) > 0.88).all(), within(found)
    assert within(found).mean() < 0.99, "an error that is too large would hold anything"
    assert (found["told"] - found["observed"]).groupby(found["group"]).mean().abs().max() < 0.04


@pytest.mark.parametrize("learnt_from", ["patients the models have seen", "a cohort that lives longer"])
def test_a_reference_that_is_wrong_is_found_out(learnt_from: str) -> None:
    assert within(told(learnt_from)).min() < 0.7, within(told(learnt_from))
