"""Probabilities of stored routers: from patients that a router has not seen, and while the routers are the same."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.routing.recalibrated import calibration_path, read_calibration, store_calibration
from cropkt.routing.rows import FOLD_PREDICTIONS
from cropkt.routing.store import FoldRecord, RoutingFolder
from cropkt.survival.calibration import recalibrate
from cropkt.survival.probabilities import kaplan_meier
from cropkt.transfer.store import ResultsFolder

PATIENTS, FOLDS = 200, 2


@pytest.fixture
def folder(tmp_path: Path) -> RoutingFolder:
    return RoutingFolder(ResultsFolder(tmp_path / "out", "uni2-h", "abmil"), "acc")


def fitted(folder: RoutingFolder) -> pd.DataFrame:
    """Two folds whose routers rank patients well, on a scale that is no log-hazard; and the own model's rows beside."""
    random = np.random.default_rng(0)
    truth = random.normal(size=PATIENTS)
    dies, leaves = 900 * random.exponential(np.exp(-truth)), random.uniform(200, 3000, PATIENTS)
    table = pd.DataFrame({"time": np.minimum(dies, leaves), "event": (dies <= leaves).astype(int), "risk": 0.1 * truth})
    table["patient_id"], table["fold"] = [f"p{n}" for n in range(PATIENTS)], np.arange(PATIENTS) % FOLDS
    for fold, part in table.groupby("fold"):
        rows = pd.concat([part.assign(method="roupkt"), part.assign(method="self", risk=0.0)])
        FOLD_PREDICTIONS.write(folder.predictions_path(fold), FOLD_PREDICTIONS.filled(rows))
        for path in (folder.router_path(fold), folder.gates_path(fold)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"here")
        folder.store_record(FoldRecord(f"f{fold}", "acc", fold, {}, (), 3, False, None, 1.0))
    return table


def test_mean_probability_is_that_of_the_patients_who_were_tested(folder: RoutingFolder) -> None:
    table = fitted(folder)
    store_calibration(folder, FOLDS)
    found = read_calibration(folder.router_path(1), "f1")
    assert found is not None
    days = [365.0, 730.0]
    observed, error = kaplan_meier(table["time"], table["event"], days)
    assert (np.abs(found.survival(table["risk"], days).mean(axis=0) - observed) < error).all()
    expected = recalibrate(table["time"], table["event"], table["risk"])
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value)


def test_a_calibration_of_other_routers_or_a_damaged_one_is_none(folder: RoutingFolder) -> None:
    assert read_calibration(folder.router_path(0), "f0") is None
    store_calibration(folder, FOLDS)
    assert not calibration_path(folder.router_path(0)).exists(), "no fold is fitted"
    fitted(folder)
    store_calibration(folder, FOLDS)
    assert read_calibration(folder.router_path(0), "fitted since") is None
    path = calibration_path(folder.router_path(0))
    content = json.loads(path.read_text())
    content["recalibration"]["times"].pop()
    path.write_text(json.dumps(content))
    assert read_calibration(folder.router_path(0), "f0") is None
    path.write_text("[]")
    assert read_calibration(folder.router_path(0), "f0") is None
