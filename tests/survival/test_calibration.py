"""Recalibration: against scikit-survival's Breslow curve, against simulated truth, and without a leak."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import nelson_aalen_estimator
from sksurv.util import Surv

from cropkt.survival.calibration import RIDGE, cross_fit_survival, follow_up_end, recalibrate
from cropkt.survival.probabilities import event_calibration, kaplan_meier

RATE = 1 / 1000
"""Deaths a day at the mean risk."""


def cohort(random: np.random.Generator, patients: int, slope: float = 0.8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in days, events and true log-hazards; about half die before they leave."""
    score = slope * random.normal(size=patients)
    dies = random.exponential(np.exp(-score)) / RATE
    leaves = random.uniform(200, 2500, patients)
    return np.ceil(np.minimum(dies, leaves)), (dies <= leaves).astype(int), score


def test_curves_are_those_of_scikit_survivals_cox_model() -> None:
    time, event, score = cohort(np.random.default_rng(0), 90)
    risk = 5 + 30 * score
    found = recalibrate(time, event, risk)
    z = ((risk - risk.mean()) / risk.std())[:, None]
    reference = CoxPHSurvivalAnalysis(alpha=RIDGE, ties="breslow").fit(z, Surv.from_arrays(event.astype(bool), time))
    days = found.times[found.times <= found.end]
    expected = [[curve(day) for day in days] for curve in reference.predict_survival_function(z[:5])]
    assert_allclose(found.survival(risk[:5], days), expected, rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_intervals_cover_the_true_curve(slope: float) -> None:
    random = np.random.default_rng(1)
    asked, days = np.array([-1.0, 0.0, 1.5]), np.array([300.0, 900.0])
    covered = []
    for _ in range(250):
        time, event, score = cohort(random, 120, slope)
        noise = random.normal(size=120) if slope == 0 else score
        model = recalibrate(time, event, noise)
        lower, upper = model.interval(asked, days)
        rate = RATE * np.exp(asked if slope else 0 * asked)
        truth = np.exp(-rate[:, None] * days)
        assert (lower <= model.survival(asked, days)).all()
        covered.append((lower <= truth) & (truth <= upper))
    share = np.mean(covered, axis=0)
    assert (share >= 0.9).all()
    assert share.mean() == pytest.approx(0.95, abs=0.02)


def test_nothing_is_said_beyond_follow_up() -> None:
    time, event, score = cohort(np.random.default_rng(2), 60)
    model = recalibrate(time, event, score)
    assert model.end == np.sort(time)[-5] == follow_up_end(time)
    beyond = model.survival(score[:3], [model.end, model.end + 1, 20 * 365])
    assert np.isfinite(beyond[:, 0]).all()
    assert np.isnan(beyond[:, 1:]).all()
    assert np.isnan(model.interval(score[:3], [20 * 365])).all()
    assert (model.survival(score[:3], [0]) == 1).all()


def test_with_too_few_events_everybody_has_the_cohorts_curve() -> None:
    random = np.random.default_rng(3)
    time, event = np.arange(1.0, 41), np.zeros(40, dtype=int)
    event[[5, 20]] = 1
    model = recalibrate(time, event, random.normal(size=40))
    moments, hazard = nelson_aalen_estimator(event.astype(bool), time)
    expected = np.exp(-hazard[np.searchsorted(moments, [3, 6, 30], side="right") - 1])
    assert_allclose(model.survival([-9, 9], [3, 6, 30]), [expected] * 2)


def test_a_ranking_without_fault_has_a_slope_all_the_same() -> None:
    """Without the ridge it would be infinite."""
    time = np.arange(1.0, 31)
    model = recalibrate(time, np.r_[np.ones(4, int), np.zeros(26, int)], -time)
    assert 0 < model.slope < 10


def test_risks_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        recalibrate([1, 2], [1, 0], [np.nan, 1])


def folds_of(patients: int, random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    place = random.permutation(patients) % 5
    return [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(5)]


def test_as_many_live_as_the_probabilities_say() -> None:
    """A risk on a scale that has nothing to do with time or rate; before recalibration it would be no probability."""
    random = np.random.default_rng(4)
    days = np.array([365.0, 730.0, 1095.0])
    distance, p_values = [], []
    for _ in range(60):
        time, event, score = cohort(random, 150)
        risk = np.tile(3 * score + random.normal(size=150) - 40, (5, 1))
        found = cross_fit_survival(time, event, risk, folds_of(150, random), days)
        observed, error = kaplan_meier(time, event, days)
        distance.append((found.survival.mean(axis=0) - observed) / error)
        own = np.minimum(time, found.end)
        p_values.append(event_calibration(event * (time <= own), found.at_own_time).p_value)
    assert np.abs(distance).mean() < 1, "nearer to Kaplan-Meier than its own error"
    assert np.abs(np.mean(distance, axis=0)).max() < 0.3
    assert np.mean(np.array(p_values) < 0.05) < 0.2


def test_test_patients_have_no_part_in_their_own_probabilities() -> None:
    """Their labels replaced by others, their curves stay; risks may differ from fold to fold."""
    random = np.random.default_rng(5)
    time, event, score = cohort(random, 60)
    risk = score + 0.1 * random.normal(size=(5, 60))
    folds = folds_of(60, random)
    before = cross_fit_survival(time, event, risk, folds, [365.0]).survival
    for train, test in folds:
        poisoned_time, poisoned_event = time.copy(), event.copy()
        poisoned_time[test], poisoned_event[test] = 1.0, 1
        poisoned_risk = risk.copy()
        after = cross_fit_survival(poisoned_time, poisoned_event, poisoned_risk, folds, [365.0]).survival
        assert_allclose(after[test], before[test])
        assert not np.allclose(after[train], before[train], equal_nan=True)


def test_patients_that_no_fold_tests_or_no_model_scores_have_no_probability() -> None:
    time, event, score = cohort(np.random.default_rng(6), 40)
    risk = np.tile(score, (1, 1))
    risk[0, 3] = np.nan
    found = cross_fit_survival(time, event, risk, [(np.arange(20, 40), np.arange(10))], [100.0])
    assert np.flatnonzero(np.isfinite(found.survival[:, 0])).tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert np.isnan(found.at_own_time[10:]).all()
