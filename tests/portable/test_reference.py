"""What a reference says of risks, and that no number in it is one patient's."""

import numpy as np
import pytest

from cropkt.portable.reference import GROUP, MONTH, learn_reference, monthly
from cropkt.survival.calibration import recalibrate
from cropkt.survival.probabilities import kaplan_meier

YEARS = 365 * np.arange(1, 6)


def cohort(patients: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, events and true log-risks: exponential times, a third of them censored."""
    random = np.random.default_rng(seed)
    risk = random.normal(size=patients)
    death, censored = random.exponential(1500 * np.exp(-0.8 * risk)), random.exponential(3000, size=patients)
    return np.ceil(np.minimum(death, censored)), (death < censored).astype(int), risk


def test_models_are_standardised_by_their_own_unseen_patients() -> None:
    """Five models on scales of their own, each with the patients of its fold, read as one."""
    time, event, risk = cohort(200)
    fold = np.arange(200) % 5
    stretched = np.where(fold == np.arange(5)[:, None], (risk - 10 * fold) * (1 + fold), np.nan)
    found = learn_reference(time, event, stretched)
    for model in range(5):
        own = fold == model
        assert found.centre[model] == pytest.approx(stretched[model, own].mean())
        assert found.scale[model] == pytest.approx(stretched[model, own].std())
    told = found.standardised(stretched)
    assert np.corrcoef(told, risk)[0, 1] > 0.97
    assert told.mean() == pytest.approx(0, abs=1e-9)


def test_patients_whom_every_model_has_seen_do_not_count() -> None:
    time, event, risk = cohort(80)
    known = risk[None].copy()
    known[:, 40:] = np.nan
    found, alone = learn_reference(time, event, known), learn_reference(time[:40], event[:40], risk[None, :40])
    assert (found.patients, found.events) == (40, event[:40].sum())
    np.testing.assert_array_equal(found.groups, alone.groups)
    assert found.calibration is not None
    assert alone.calibration is not None
    np.testing.assert_array_equal(found.calibration.cumulative, alone.calibration.cumulative)


def test_percentiles_of_known_risks() -> None:
    found = learn_reference(np.arange(1, 101), np.ones(100), np.arange(100.0)[None])
    told = found.percentile(found.standardised(np.array([[-1000.0, 2, 49.5, 97, 1000, np.nan]])))
    assert told == pytest.approx([0.025, 0.025, 0.5, 0.975, 0.975, np.nan], nan_ok=True)
    assert len(found.groups) == 100 // GROUP


@pytest.mark.parametrize("patients", [3, 7, 24, 300, 2000])
def test_a_risk_is_the_mean_of_a_group(patients: int) -> None:
    time, event, risk = cohort(patients)
    found = learn_reference(time, event, risk[None])
    assert len(found.groups) <= patients // GROUP
    assert len(found.groups) <= 100
    own = found.standardised(risk[None])
    assert not set(np.round(found.groups, 9)) & set(np.round(own, 9))
    if patients < GROUP:
        assert np.isnan(found.percentile(own)).all()


@pytest.mark.parametrize("patients", [30, 60, 400])
def test_hazards_bend_only_where_a_group_has_died(patients: int) -> None:
    time, event, risk = cohort(patients)
    exact = recalibrate(time, event, risk)
    coarse = monthly(exact, time[event == 1])
    assert np.allclose(coarse.times, MONTH * np.arange(1, len(coarse.times) + 1))
    assert exact.end - MONTH < coarse.end <= exact.end
    slope = np.diff([0.0, *coarse.cumulative])
    bends = [month for month in range(1, len(slope)) if not np.isclose(slope[month], slope[month - 1], rtol=1e-6)]
    pieces = np.histogram(time[event == 1], bins=[0, *(coarse.times[month - 1] for month in bends), coarse.end])[0]
    assert len(pieces) > 1 or event.sum() < 2 * GROUP
    assert (pieces >= GROUP).all()
    for month in bends:
        day = coarse.times[month - 1]
        assert coarse.survival([0.3], [day]) == pytest.approx(exact.survival([0.3], [day]))


def test_survival_is_that_of_kaplan_and_meier() -> None:
    """The cohort's mean curve lies within the estimate's error, and groups by risk lie on their own curves."""
    time, event, risk = cohort(400)
    found = learn_reference(time, event, risk[None])
    assert found.calibration is not None
    told = found.calibration.survival(found.standardised(risk[None]), YEARS)
    observed, error = kaplan_meier(time, event, YEARS)
    assert (np.abs(told.mean(axis=0) - observed) < 2 * error).all()
    for third in np.array_split(np.argsort(risk), 3):
        observed, error = kaplan_meier(time[third], event[third], YEARS)
        assert (np.abs(told[third].mean(axis=0) - observed) < 3 * error).all()


def test_survival_of_patients_that_were_not_there_is_theirs() -> None:
    """Learnt from 200 patients, told for 400 others, 40 times: predicted minus observed has no drift, in no third."""
    differences = []
    for seed in range(40):
        time, event, risk = cohort(600, seed=seed)
        found = learn_reference(time[:200], event[:200], risk[None, :200])
        assert found.calibration is not None
        told = found.calibration.survival(found.standardised(risk[None, 200:]), YEARS[:3])
        order = np.argsort(risk[200:])
        for part in (order, *np.array_split(order, 3)):
            observed, error = kaplan_meier(time[200:][part], event[200:][part], YEARS[:3])
            differences.append((told[part].mean(axis=0) - observed) / error)
    z = np.array(differences).reshape(40, 4, 3)
    assert (np.abs(z.mean(axis=0)) < 0.75).all()
    assert (np.abs(z) < 2).mean() > 0.75  # the reference's own error, that of 200 patients, comes on top


def test_few_deaths_give_no_survival() -> None:
    time, event, risk = cohort(40)
    event = np.where(np.cumsum(event) < GROUP, event, 0)
    assert learn_reference(time, event, risk[None]).calibration is None


def test_nothing_is_said_beyond_the_follow_up() -> None:
    time, event, risk = cohort(60)
    found = learn_reference(np.minimum(time, 800), np.where(time > 800, 0, event), risk[None])
    assert found.calibration is not None
    told = found.calibration.survival([0.0], YEARS)[0]
    assert np.isfinite(told[:2]).all()
    assert np.isnan(told[2:]).all()
