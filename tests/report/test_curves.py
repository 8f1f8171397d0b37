"""Curves and groups against scikit-survival, textbook values, and a log-rank test worked out by its definition."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from made_up_results import write_results
from scipy.stats import chi2
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from cropkt.report.curves import CENSOR_MARKS, Curve, log_rank, risk_curves, risk_groups, target_curves


def predictions(patients: int = 47, models: int = 3, folds: int = 4, *, seed: int = 3) -> pd.DataFrame:
    """A prediction table as stored: every model scores every patient, models on scales of their own."""
    random = np.random.default_rng(seed)
    time, event = random.integers(1, 3000, patients), random.integers(0, 2, patients)
    risk = random.normal(size=(models, patients)) * 10.0 ** np.arange(models)[:, None]
    model, patient = np.indices(risk.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "source": "blca",
            "source_fold": model,
            "target_fold": patient % folds,
            "patient_id": [f"p{number:03d}" for number in patient],
            "time": time[patient],
            "event": event[patient],
            "risk": risk[model, patient],
        }
    )


def survival_at(curve: Curve, times: np.ndarray) -> np.ndarray:
    """The step function that the curve's steps draw."""
    steps = np.concatenate([[1.0], curve.survival])
    return steps[np.searchsorted(curve.time[:-1], times, side="right")]


def test_curve_is_that_of_scikit_survival_at_every_time() -> None:
    groups = risk_groups(predictions())
    curves = risk_curves(groups)
    assert curves is not None
    for curve, high in ((curves.high, True), (curves.low, False)):
        part = groups[groups["high"] == high]
        times, survival = kaplan_meier_estimator(part["event"].to_numpy(bool), part["time"].to_numpy(float))
        np.testing.assert_allclose(survival_at(curve, times), survival)
        assert curve.patients == len(part)
        assert curve.events == part["event"].sum()
        assert set(curve.censored) == set(part.loc[part["event"] == 0, "time"])
        at_risk = [(part["time"] >= tick * 365.25).sum() for tick in curves.ticks]
        assert curve.at_risk.tolist() == at_risk


def test_curve_of_a_worked_example() -> None:
    """Six patients at high risk: deaths at 1, 3, 3 and 6, censored at 2 and 4."""
    groups = pd.DataFrame(
        {
            "high": [True] * 6 + [False],
            "time": [1, 2, 3, 3, 4, 6, 9],
            "event": [1, 0, 1, 1, 0, 1, 0],
        }
    )
    curves = risk_curves(groups)
    assert curves is not None
    np.testing.assert_allclose(curves.high.time, [1, 3, 6, 6])
    np.testing.assert_allclose(curves.high.survival, [5 / 6, 5 / 6 * 2 / 4, 0, 0])


def test_log_rank_by_its_definition_and_by_scikit_survival() -> None:
    random = np.random.default_rng(1)
    time, event, high = random.integers(1, 40, 80), random.random(80) < 0.6, random.random(80) < 0.5
    observed = expected = variance = 0.0
    for moment in np.unique(time[event]):
        at_risk = time >= moment
        n, n_high, deaths = at_risk.sum(), (at_risk & high).sum(), (event & (time == moment)).sum()
        observed += (event & high & (time == moment)).sum()
        expected += deaths * n_high / n
        if n > 1:
            variance += deaths * (n_high / n) * (1 - n_high / n) * (n - deaths) / (n - 1)
    by_definition = (observed - expected) ** 2 / variance
    found = log_rank(time, event, high)
    assert found.chi_square == pytest.approx(by_definition)
    assert found.p_value == pytest.approx(chi2.sf(by_definition, 1))
    assert (found.chi_square, found.p_value) == pytest.approx(compare_survival(Surv.from_arrays(event, time), high))
    log_ratio, error = (observed - expected) / variance, variance**-0.5
    ends = [log_ratio, log_ratio - 1.959964 * error, log_ratio + 1.959964 * error]
    assert np.log([found.ratio, found.lower, found.upper]) == pytest.approx(ends, rel=1e-6)


def test_the_hazard_ratio_is_that_of_the_group_called_high() -> None:
    """2,000 patients whose hazard is doubled in one group: Peto's estimate is near 2, and its interval holds it."""
    random = np.random.default_rng(4)
    high = np.arange(2000) % 2 == 0
    found = log_rank(random.exponential(np.where(high, 500, 1000)), np.ones(2000, dtype=bool), high)
    assert found.lower < 2 < found.upper
    assert found.ratio == pytest.approx(2, rel=0.1)


def test_the_band_is_that_of_scikit_survival() -> None:
    groups = risk_groups(predictions())
    curves = risk_curves(groups)
    assert curves is not None
    part = groups[groups["high"]]
    times, survival, (lower, upper) = kaplan_meier_estimator(
        part["event"].to_numpy(bool), part["time"].to_numpy(float), conf_type="log-log"
    )
    at = np.searchsorted(times, curves.high.time)
    np.testing.assert_allclose(curves.high.lower, lower[at])
    np.testing.assert_allclose(curves.high.upper, upper[at])
    inside = survival[at] > 0
    assert (curves.high.lower <= curves.high.survival)[inside].all()
    assert (curves.high.upper >= curves.high.survival)[inside].all()


def test_log_rank_has_no_answer_without_events_or_without_anybody_left_to_compare() -> None:
    nobody = log_rank(np.array([1.0, 2.0]), np.array([False, False]), np.array([True, False]))
    assert np.isnan(astuple(nobody)).all()
    alone_at_the_end = np.array([1.0, 2.0]), np.array([False, True]), np.array([True, False])
    assert np.isnan(astuple(log_rank(*alone_at_the_end))).all()


def test_each_test_fold_is_split_in_halves_by_its_own_patients_alone() -> None:
    for _, fold in risk_groups(predictions(models=1)).groupby("target_fold"):
        assert fold["high"].sum() == len(fold) // 2
        assert fold.loc[fold["high"], "percentile"].min() > fold.loc[~fold["high"], "percentile"].max()
    table = predictions()
    groups = risk_groups(table).set_index("patient_id")
    for _, fold in groups.groupby("target_fold"):
        assert list(fold["high"]) == list(fold["percentile"] > np.median(fold["percentile"]) + 1e-9)
    changed = table.copy()
    elsewhere = changed["target_fold"] != 2
    changed.loc[elsewhere, "risk"] = np.random.default_rng(9).normal(size=elsewhere.sum()) * 1e6
    again = risk_groups(changed).set_index("patient_id")
    here = groups["target_fold"] == 2
    pd.testing.assert_series_equal(groups.loc[here, "high"], again.loc[here, "high"])
    assert (groups.loc[~here, "high"] != again.loc[~here, "high"]).any()


def test_no_model_shouts_down_the_others() -> None:
    """Percentiles are within a model and fold, so each may keep its own scale; a patient's are averaged over models."""
    table = predictions()
    stretched = table.assign(risk=np.where(table["source_fold"] == 0, np.exp(table["risk"] / 5), table["risk"] - 40))
    pd.testing.assert_frame_equal(risk_groups(table), risk_groups(stretched))
    ranks = table.groupby(["source_fold", "target_fold"])["risk"].rank()
    sizes = table.groupby(["source_fold", "target_fold"])["risk"].transform("size")
    expected = table.assign(percentile=(ranks - 0.5) / sizes).groupby("patient_id")["percentile"].mean()
    np.testing.assert_allclose(risk_groups(table).set_index("patient_id")["percentile"], expected)


def test_equal_risks_make_no_groups() -> None:
    table = predictions().assign(risk=1.0)
    assert risk_curves(risk_groups(table)) is None


def test_marks_of_censored_patients_are_thinned_but_keep_both_ends() -> None:
    many = 4 * CENSOR_MARKS
    groups = pd.DataFrame({"high": np.arange(many) % 2 == 0, "time": np.arange(1, many + 1), "event": 0})
    curves = risk_curves(groups)
    assert curves is not None
    assert len(curves.high.censored) == CENSOR_MARKS
    assert (curves.high.censored[0], curves.high.censored[-1]) == (1, many - 1)


def test_curves_of_a_results_folder_come_from_its_predictions(tmp_path) -> None:
    folder = write_results(tmp_path, ["blca", "cesc"], patients=20)
    folder.predictions_path("cesc", "blca").unlink()
    curves = dict(target_curves(folder, "blca", ["blca", "cesc"]))
    assert list(curves) == ["blca"]
    assert curves["blca"].high.patients + curves["blca"].low.patients == 20
