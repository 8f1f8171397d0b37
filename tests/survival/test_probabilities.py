"""Scores of survival probabilities where the truth is known."""

import numpy as np
import pytest
from scipy.stats import kstest
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw
from sksurv.util import Surv

from cropkt.survival.probabilities import brier_gain, d_calibration, event_calibration, kaplan_meier, uno_c_index

DAYS = np.array([200.0, 400.0, 600.0, 800.0])


def patients(
    random: np.random.Generator, count: int, leave: float | None = 900.0, slope: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, events and true rates a day; `leave`: mean time to censoring."""
    rate = np.exp(slope * random.normal(size=count)) / 800
    dies = random.exponential(1 / rate)
    leaves = random.exponential(leave, count) if leave else np.full(count, np.inf)
    return np.minimum(dies, leaves), (dies <= leaves).astype(int), rate


def test_unos_c_index_is_harrells_without_censoring_and_scikit_survivals_with() -> None:
    time, event, rate = patients(np.random.default_rng(0), 80, leave=None)
    harrell = concordance_index_censored(event.astype(bool), time, rate)[0]
    assert uno_c_index(time, event, rate, time.max(), censoring=(time, event)) == pytest.approx(harrell, abs=1e-3)
    time, event, rate = patients(np.random.default_rng(1), 80)
    followed = Surv.from_arrays(event.astype(bool), time)
    expected = concordance_index_ipcw(followed, followed, rate, tau=700)[0]
    assert uno_c_index(time, event, rate, 700, censoring=(time, event)) == pytest.approx(expected)


def test_unos_c_index_does_not_depend_on_follow_up_and_harrells_does() -> None:
    """Hazards that cross: early deaths follow the risk, late ones do not, so a short follow-up flatters."""
    random = np.random.default_rng(2)
    uno, harrell = {}, {}
    for leave in (400.0, 4000.0):
        count = 6000
        risk = random.normal(size=count)
        early = random.exponential(400, count) * np.exp(-2 * risk)
        dies = np.where(early < 200, early, 200 + random.exponential(500, count))
        leaves = random.exponential(leave, count)
        time, event = np.minimum(dies, leaves), dies <= leaves
        uno[leave] = uno_c_index(time, event, risk, 700, censoring=(time, event))
        harrell[leave] = concordance_index_censored(event & (time < 700), time, risk)[0]
    assert abs(uno[400.0] - uno[4000.0]) < 0.02
    assert harrell[400.0] - harrell[4000.0] > 0.03


def test_unos_c_index_is_unknown_without_a_pair_before_the_horizon() -> None:
    time, event, risk = np.array([5.0, 6, 7]), np.array([0, 1, 0]), np.arange(3.0)
    assert np.isnan(uno_c_index(time, event, risk, 5, censoring=(time, event)))
    assert np.isnan(uno_c_index(time, event, risk, 30, censoring=(time, event))), "nobody is followed for 30 days"


def test_the_brier_score_gains_nothing_by_a_constant_and_something_by_the_truth() -> None:
    random = np.random.default_rng(3)
    gains = []
    for _ in range(20):
        time, event, rate = patients(random, 300)
        curve = np.tile(kaplan_meier(time, event, DAYS)[0], (300, 1))
        truth = np.exp(-rate[:, None] * DAYS)
        assert brier_gain(time, event, curve, curve, DAYS, censoring=(time, event)) == 0
        gains.append(brier_gain(time, event, truth, curve, DAYS, censoring=(time, event)))
        wrong = np.exp(-random.permutation(rate)[:, None] * DAYS)
        assert brier_gain(time, event, wrong, curve, DAYS, censoring=(time, event)) < 0
    assert np.min(gains) > 0.05


def test_brier_scores_reach_as_far_as_the_curves_and_patients_do() -> None:
    time, event, rate = patients(np.random.default_rng(4), 100)
    truth, curve = np.exp(-rate[:, None] * DAYS), np.tile(kaplan_meier(time, event, DAYS)[0], (100, 1))
    known = brier_gain(time, event, truth[:, :3], curve[:, :3], DAYS[:3], censoring=(time, event))
    truth[:, 3] = np.nan
    assert brier_gain(time, event, truth, curve, DAYS, censoring=(time, event)) == known
    longer = np.append(time, 1e5), np.append(event, 0)
    found = brier_gain(
        *longer, np.vstack([truth, truth[:1]]), np.vstack([curve, curve[:1]]), DAYS, censoring=(time, event)
    )
    assert np.isfinite(found)
    assert np.isnan(brier_gain(time, event, truth, curve, DAYS + 1e6, censoring=(time, event)))


def test_kaplan_meier_with_greenwoods_error_by_hand() -> None:
    """Deaths at 1 and 3 of 4 patients, one leaves at 2: 3/4, then half of it."""
    survival, error = kaplan_meier([1, 2, 3, 4], [1, 0, 1, 0], [0.5, 1, 3])
    assert survival.tolist() == pytest.approx([1, 3 / 4, 3 / 8])
    assert error.tolist() == pytest.approx([0, 0.75 * np.sqrt(1 / 12), 0.375 * np.sqrt(1 / 12 + 1 / 2)])


def p_values(test: str, leave: float | None, factor: float = 1.0, draws: int = 400) -> np.ndarray:
    random = np.random.default_rng(5)
    found = []
    for _ in range(draws):
        time, event, rate = patients(random, 200, leave)
        survival = np.exp(-factor * rate * time)
        function = d_calibration if test == "d" else event_calibration
        found.append(function(event, survival).p_value)
    return np.array(found)


@pytest.mark.parametrize(("test", "leave"), [("d", None), ("events", None), ("events", 900.0), ("events", 200.0)])
def test_p_values_are_uniform_where_the_probabilities_are_right(test: str, leave: float | None) -> None:
    p = p_values(test, leave)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 400))


def test_d_calibration_is_too_lenient_under_censoring() -> None:
    """Why it is not the test that is believed."""
    assert np.mean(p_values("d", 200.0) < 0.2) < 0.05


def test_probabilities_that_are_too_low_are_found_out() -> None:
    assert np.mean(p_values("events", 900.0, factor=1.8, draws=100) < 0.05) > 0.9


def test_d_calibration_by_hand() -> None:
    """Two bins: a death at .3 and at .8, one who left at .8 and would have died at .5 to .8 or below .5 by 3 to 5."""
    found = d_calibration([1, 1, 0], [0.3, 0.8, 0.8], bins=2)
    assert found.observed.tolist() == pytest.approx([1 + 5 / 8, 1 + 3 / 8])
    assert found.expected.tolist() == [1.5, 1.5]


def test_events_by_hand_and_bins_that_are_too_small_are_joined() -> None:
    """20 patients pass through a hazard of .5 each, half of them then leave: expected 10, so two bins of 5."""
    survival = np.full(20, np.exp(-0.5))
    found = event_calibration([1] * 8 + [0] * 12, survival)
    assert found.expected.tolist() == pytest.approx([5, 5])
    assert found.observed.tolist() == [0, 8], "all die at the end of the way"
    assert found.statistic == pytest.approx(5 + 9 / 5)
    assert np.isnan(event_calibration([1, 0], [0.5, 0.5]).p_value)
