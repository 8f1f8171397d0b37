"""A target borrows where others know, stands alone where they mislead, and hears itself where they are blind."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort, made_up_lenders
from scipy.stats import spearmanr

from cropkt.borrowing.fit import TargetFit, fit_target
from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders

LENDERS = gather_lenders(made_up_lenders(), axes=4)
FRESH = made_up_cohort("target", patients=2000)


def fitted(target: CohortPatients, lenders: Lenders = LENDERS, **settings: float) -> TargetFit:
    return fit_target(lenders.model, lenders.axes, target.features, target.time, target.event, **settings)


def first(patients: int, cohort: CohortPatients = FRESH) -> CohortPatients:
    return CohortPatients(cohort.cohort, cohort.features[:patients], cohort.time[:patients], cohort.event[:patients])


def agreement(coefficients: np.ndarray, truth: np.ndarray) -> float:
    return float(spearmanr(FRESH.features @ coefficients, FRESH.features @ truth)[0])


TRUTH = fitted(FRESH).alone
"""What 2,000 patients of the target say themselves."""


def test_without_outcomes_it_is_the_prior_and_that_is_good() -> None:
    target = first(40)
    fit = fitted(replace(target, event=0 * target.event))
    np.testing.assert_allclose(fit.averaged @ FRESH.features.T, 0.9 * fit.prior @ FRESH.features.T, atol=1e-9)
    assert fit.probability == pytest.approx(0.9)
    np.testing.assert_allclose(fit.contributions.sum(axis=0), fit.prior)
    assert agreement(fit.prior, TRUTH) > 0.9


def test_forty_patients_of_the_same_kind_borrow_and_gain() -> None:
    fit = fitted(first(40))
    assert fit.probability > 0.9
    assert agreement(fit.averaged, TRUTH) > max(0.95, agreement(fit.alone, TRUTH))


def test_the_signal_is_what_the_others_foretell_and_small_where_slides_tell_them_nothing() -> None:
    target = first(40)
    fit = fitted(target)
    assert fit.signal == pytest.approx(np.std(target.features @ fit.prior))
    blind = gather_lenders(made_up_lenders(signal=0.0), axes=4)
    assert fitted(target, blind).signal < 0.2 * fit.signal
    assert fitted(replace(target, event=1 - target.event)).signal == fit.signal  # no outcome of the target is in it


def test_a_target_that_runs_the_other_way_is_heard() -> None:
    other = made_up_cohort("target", patients=80, sign=-1)
    fit = fitted(other)
    assert fit.probability < 0.05
    assert agreement(fit.averaged, -TRUTH) > 0.7
    assert agreement(fit.prior, -TRUTH) < -0.7


def test_the_own_part_hears_what_no_axis_holds() -> None:
    """Risk hangs on a feature that never varies elsewhere."""
    random = np.random.default_rng(4)
    target = made_up_cohort("target", patients=150)
    features = target.features.copy()
    features[:, 11] = random.normal(size=150)
    blind = [replace(one, features=np.where(np.arange(12) == 11, 0.0, one.features)) for one in made_up_lenders()]
    time = random.exponential(np.exp(-1.5 * features[:, 11]))
    fit = fitted(CohortPatients("target", features, time, np.ones(150)), gather_lenders(blind, axes=4))
    assert fit.own_spread > 0.5
    assert np.corrcoef(features @ fit.averaged, features[:, 11])[0, 1] > 0.6


def test_prior_probability_weighs_and_must_be_one() -> None:
    target = first(40)
    certain, doubtful = fitted(target, prior_probability=0.99), fitted(target, prior_probability=0.01)
    odds = [fit.probability / (1 - fit.probability) for fit in (certain, doubtful)]
    assert odds[0] / odds[1] == pytest.approx(99**2)
    np.testing.assert_allclose(certain.borrowed, doubtful.borrowed, rtol=1e-9)
    with pytest.raises(ValueError, match="prior_probability is 1"):
        fitted(target, prior_probability=1)


@pytest.fixture(scope="module")
def wide() -> Lenders:
    return gather_lenders(made_up_lenders(5, width=1536), axes=24)


@pytest.mark.parametrize("events", [0, 1, 2])
def test_two_events_in_forty_patients_at_full_width_are_safe(events: int, wide: Lenders) -> None:
    target = made_up_cohort("target", patients=40, width=1536)
    target.features[:, 9] = 2.0
    event = np.zeros(40)
    event[:events] = 1
    fit = fitted(replace(target, event=event), wide)
    for part in (fit.averaged, fit.borrowed, fit.alone, fit.prior):
        assert np.isfinite(part).all()
    assert 0 < fit.probability < 1
