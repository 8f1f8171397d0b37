"""Harrell's C-index of one sample: against scikit-survival, against hand-worked cases, and how sure it is."""

import warnings

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_censored

from cropkt.survival import concordance as module
from cropkt.survival.concordance import (
    concordance,
    confidence_interval,
    difference_interval,
    p_value_against,
    p_value_of_difference,
    smallest_difference,
    standard_error,
)

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def by_scikit_survival(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> tuple[float, ...] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = concordance_index_censored(event.astype(bool), time, risk)
    except (ValueError, NoComparablePairException, ZeroDivisionError):
        return None
    return None if np.isnan(found[0]) else tuple(found)


def test_equals_scikit_survival_on_many_small_samples_with_ties() -> None:
    random = np.random.default_rng(0)
    undefined = tied_risk = tied_time = 0
    for _ in range(1500):
        patients = int(random.integers(2, 15))
        time = random.integers(0, random.choice([2, 5, 30]), patients).astype(float)
        event = (random.random(patients) < random.choice([0.1, 0.5, 1.0])).astype(int)
        risk = random.integers(0, random.choice([2, 6, 1000]), patients) / 7
        risk += random.choice([0, 4e-9], patients)  # within 1e-8: still tied
        found, expected = concordance(time, event, risk), by_scikit_survival(time, event, risk)
        if expected is None:
            undefined += 1
            assert np.isnan(found.c_index)
            assert found.comparable == 0
            assert found.reason
            continue
        assert found.c_index == pytest.approx(expected[0], abs=1e-12)
        assert (found.concordant, found.discordant, found.tied_risk, found.tied_time) == expected[1:]
        assert found.pairs.sum() == 2 * found.comparable
        tied_risk += found.tied_risk
        tied_time += found.tied_time
    assert min(undefined, tied_risk, tied_time) > 50


def test_a_sample_larger_than_one_block_equals_scikit_survival(monkeypatch: pytest.MonkeyPatch) -> None:
    time, event, risk = related(np.random.default_rng(1), 200)
    monkeypatch.setattr(module, "PATIENTS_AT_ONCE", 7)
    found = concordance(time, event, risk)
    expected = by_scikit_survival(time, event, risk)
    assert expected is not None
    assert found.c_index == pytest.approx(expected[0], abs=1e-12)
    assert (found.concordant, found.discordant, found.tied_risk, found.tied_time) == expected[1:]


@pytest.mark.parametrize(
    ("time", "event", "risk", "counts"),
    [  # concordant, discordant, tied risk, tied time
        pytest.param([1, 2], [1, 1], [2, 1], (1, 0, 0, 0), id="the earlier death has the higher risk"),
        pytest.param([1, 2], [1, 1], [1, 2], (0, 1, 0, 0), id="the earlier death has the lower risk"),
        pytest.param([1, 2], [1, 0], [1, 1], (0, 0, 1, 0), id="equal risks"),
        pytest.param([1, 2], [1, 0], [1, 1 + 1e-8 / 2], (0, 0, 1, 0), id="risks within the tolerance"),
        pytest.param([1, 2], [1, 0], [1, 1 + 3e-8], (0, 1, 0, 0), id="risks beyond the tolerance"),
        pytest.param([2, 1], [1, 0], [2, 1], (0, 0, 0, 0), id="censored before the death"),
        pytest.param([1, 1], [1, 0], [2, 1], (1, 0, 0, 1), id="censored at the time of the death"),
        pytest.param([1, 1], [1, 1], [2, 1], (0, 0, 0, 0), id="two deaths at one time"),
        pytest.param([0, 0, 5], [1, 0, 0], [3, 2, 1], (2, 0, 0, 1), id="a death on day zero"),
        pytest.param([1, 2, 3, 4], [1, 0, 1, 0], [4, 9, 1, 2], (2, 2, 0, 0), id="four patients, two deaths"),
        pytest.param([1, 2], [0, 0], [2, 1], (0, 0, 0, 0), id="nobody died"),
        pytest.param([1], [1], [2], (0, 0, 0, 0), id="one patient"),
        pytest.param([], [], [], (0, 0, 0, 0), id="nobody"),
    ],
)
def test_by_hand(time: list, event: list, risk: list, counts: tuple[int, ...]) -> None:
    found = concordance(time, event, risk)
    assert (found.concordant, found.discordant, found.tied_risk, found.tied_time) == counts
    comparable = sum(counts[:3])
    if comparable:
        assert found.c_index == (counts[0] + counts[2] / 2) / comparable
    else:
        assert np.isnan(found.c_index)
        assert np.isnan(found.standard_error)


@pytest.mark.parametrize(
    ("time", "event", "reason"),
    [([1], [1], "fewer than two patients"), ([1, 2], [0, 0], "no event"), ([1, 2], [0, 1], "no comparable pair")],
)
def test_it_says_why_there_is_none(time: list, event: list, reason: str) -> None:
    assert concordance(time, event, np.zeros(len(time))).reason == reason


def test_a_risk_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 3 risks"):
        concordance([1, 2, 3], [1, 1, 1], [np.nan, 1, np.inf])


def test_the_standard_error_by_hand() -> None:
    """Pairs (1, 2) and (1, 3) concordant, (2, 3) not: c = 2/3, influences (2, -1, -1) / 9."""
    found = concordance([1, 2, 3], [1, 1, 1], [3, 1, 2])
    assert found.influence(found.c_index).tolist() == pytest.approx([2 / 9, -1 / 9, -1 / 9])
    assert found.standard_error == pytest.approx(np.sqrt(6) / 9)


def related(random: np.random.Generator, patients: int, strength: float = 1.0) -> Sample:
    """Exponential times whose log-rate the risk knows in part, about a third censored, whole days with some ties."""
    risk = random.normal(size=patients)
    death = random.exponential(np.exp(-strength * (risk + random.normal(size=patients)))) * 200
    leaves = random.exponential(600, patients)
    return np.ceil(np.minimum(death, leaves)), (death <= leaves).astype(int), risk


def test_the_standard_error_is_that_of_drawing_patients_again() -> None:
    random = np.random.default_rng(3)
    for patients, strength in ((150, 0.0), (150, 1.0), (300, 0.5)):
        time, event, risk = related(random, patients, strength)
        draws = random.integers(0, patients, (400, patients))
        again = [concordance(time[draw], event[draw], risk[draw]).c_index for draw in draws]
        assert concordance(time, event, risk).standard_error == pytest.approx(np.std(again), rel=0.12)


def test_the_standard_error_is_the_known_one_of_a_risk_that_knows_nothing() -> None:
    """Without censoring C is (1 + Kendall's tau) / 2, whose null variance is exactly (2n + 5) / (18 n (n - 1))."""
    random = np.random.default_rng(4)
    n = 120
    found = [concordance(random.random(n), np.ones(n), random.random(n)) for _ in range(400)]
    exact = np.sqrt((2 * n + 5) / (18 * n * (n - 1)))
    assert np.sqrt(np.mean([c.standard_error**2 for c in found])) == pytest.approx(exact, rel=0.03)
    assert np.std([c.c_index for c in found]) == pytest.approx(exact, rel=0.12), "the known variance is right"


def test_two_models_on_the_same_patients_are_compared_in_pairs() -> None:
    random = np.random.default_rng(5)
    time, event, risk = related(random, 200)
    other = risk + 0.3 * random.normal(size=200)
    one, two = concordance(time, event, risk), concordance(time, event, other)
    found = standard_error(one.influence(one.c_index) - two.influence(two.c_index))
    draws = random.integers(0, 200, (400, 200))
    again = [
        concordance(time[d], event[d], risk[d]).c_index - concordance(time[d], event[d], other[d]).c_index
        for d in draws
    ]
    assert found == pytest.approx(np.std(again), rel=0.15)
    assert found < 0.6 * np.hypot(one.standard_error, two.standard_error), "as if independent would be far too large"


def test_the_interval_and_the_p_value_say_the_same() -> None:
    random = np.random.default_rng(6)
    significant = 0
    for _ in range(500):
        c_index, error, events = random.uniform(0.05, 0.95), random.uniform(0.01, 0.2), int(random.integers(3, 60))
        lower, upper = confidence_interval(c_index, error, events)
        p = p_value_against(c_index, error, events)
        assert 0 <= lower < c_index < upper <= 1
        assert 0 <= p <= 1
        assert (p < 0.05) == (not lower <= 0.5 <= upper)
        if upper < 1 - 1e-9:  # two or three events reach so far that 1 is all a float can say
            assert p_value_against(c_index, error, events, value=upper) == pytest.approx(0.05, rel=1e-3)
        assert p_value_against(1 - c_index, error, events) == pytest.approx(p), "below chance is as sure as above"
        significant += p < 0.05
    assert 100 < significant < 400


def test_more_events_and_a_smaller_error_are_surer() -> None:
    assert p_value_against(0.65, 0.05, 50) < p_value_against(0.65, 0.05, 4) < p_value_against(0.65, 0.1, 4)
    assert p_value_against(0.5, 0.1, 20) == 1


def test_a_mean_of_few_events_is_tested_as_a_mean() -> None:
    """With very many patients only events are uncertain, and the C-index is the mean of their percentiles: a t-test."""
    percentile = np.array([0.35, 0.55, 0.42, 0.66, 0.57])
    influence = (percentile - percentile.mean()) / 5
    expected = ttest_1samp(percentile, 0.5).pvalue
    error = standard_error(influence)
    assert p_value_of_difference(percentile.mean() - 0.5, error, 5) == pytest.approx(expected)
    assert p_value_against(percentile.mean(), error, 5) == pytest.approx(expected, rel=0.02)


def test_an_event_that_nobody_outlives_is_not_counted() -> None:
    found = concordance([1, 2, 3, 3], [1, 1, 1, 1], [4, 3, 2, 1])
    assert found.compared_event.tolist() == [True, True, False, False]


def test_the_smallest_difference_is_found_in_four_of_five_studies() -> None:
    """Differences of known error and 12 events, each estimated as a mean of 12."""
    random = np.random.default_rng(8)
    error = 0.05
    true = smallest_difference(error * np.sqrt(11 / 12), 12)
    drawn = true + error * np.sqrt(12) * random.normal(size=(4000, 12))
    found = [p_value_of_difference(row.mean(), standard_error((row - row.mean()) / 12), 12) < 0.05 for row in drawn]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    assert np.isnan(smallest_difference(np.nan, 12))
    assert np.isnan(smallest_difference(0.1, 1))


@pytest.mark.parametrize(
    ("c_index", "error", "events"),
    [(np.nan, np.nan, 10), (0.7, 0.0, 10), (1.0, 0.1, 10), (0.0, 0.1, 10), (0.7, 0.1, 1), (0.7, 0.1, 0)],
)
def test_nothing_is_claimed_where_nothing_is_known(c_index: float, error: float, events: int) -> None:
    assert np.isnan(confidence_interval(c_index, error, events)).all()
    assert np.isnan(p_value_against(c_index, error, events))


def test_the_p_value_against_chance_holds_its_level() -> None:
    """Risks that know nothing, censored, 24 patients: at most about 5 % may look significant (400 draws)."""
    random = np.random.default_rng(7)
    wrong = 0
    for _ in range(400):
        time, event, _ = related(random, 24)
        found = concordance(time, event, random.random(24))
        wrong += p_value_against(found.c_index, found.standard_error, int(event.sum())) < 0.05
    assert wrong / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_difference_and_its_interval_agree_with_its_p_value() -> None:
    """The interval at level 1 - p touches 0."""
    p = p_value_of_difference(0.1, 0.05, 12)
    lower, upper = difference_interval(0.1, 0.05, 12, level=1 - p)
    assert (lower, upper) == (pytest.approx(0, abs=1e-12), pytest.approx(0.2))
    assert np.isnan(difference_interval(0.1, 0.0, 12)).all()
