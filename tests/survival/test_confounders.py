"""Baselines by site, project and clinic: known answers, and no look at test patients."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest

from cropkt.survival.concordance import concordance, score_folds
from cropkt.survival.confounders import (
    clinical_columns,
    gain_beyond,
    group_risk,
    ridge_cox_risk,
    score_within,
    stage_number,
    standardised_within,
)

TRAIN = np.arange(80)


def cohort(seed: int = 0, patients: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, events and (N, 3) age, sex and stage; age and stage count, some are unknown."""
    random = np.random.default_rng(seed)
    columns = np.column_stack(
        [random.normal(60, 10, patients), random.integers(0, 2, patients), random.integers(1, 5, patients)]
    ).astype(float)
    score = 0.05 * (columns[:, 0] - 60) + 0.7 * (columns[:, 2] - 2.5)
    dies, leaves = random.exponential(np.exp(-score)), random.exponential(1.5, patients)
    columns[random.random(columns.shape) < 0.1] = np.nan
    return np.minimum(dies, leaves), (dies <= leaves).astype(int), columns


def test_a_groups_risk_is_its_shrunk_event_rate_by_hand() -> None:
    """Site a: 2 of 2 died, b: 0 of 2, rate 1/2, five patients of that rate to each; c is in no training set."""
    risk = group_risk(list("aabbac"), [1, 1, 0, 0, 0, 1], np.arange(4))
    assert risk.tolist() == pytest.approx([4.5 / 7, 4.5 / 7, 2.5 / 7, 2.5 / 7, 4.5 / 7, 0.5])


def test_a_groups_risk_does_not_know_test_patients() -> None:
    random = np.random.default_rng(1)
    group, event = random.integers(0, 6, 120).astype(str), random.integers(0, 2, 120)
    poisoned = np.where(np.isin(np.arange(120), TRAIN), event, 1 - event)
    assert_allclose(group_risk(group, poisoned, TRAIN), group_risk(group, event, TRAIN))
    assert not np.allclose(group_risk(group, poisoned, np.arange(120)), group_risk(group, event, np.arange(120)))


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("Stage IIA", 2),
        ("Stage IV", 4),
        ("iii", 3),
        ("Stage IA2", 1),
        ("Stage X", None),
        ("I/II NOS", None),
        (None, None),
    ],
)
def test_stages_as_the_clinical_resource_writes_them(stage: object, number: int | None) -> None:
    found = stage_number(stage)
    assert np.isnan(found) if number is None else found == number


def test_clinical_columns() -> None:
    found = clinical_columns(["61", None, 40], ["MALE", "female", "?"], ["Stage I", "", "Stage IIIC"])
    assert_allclose(found, [[61, 1, 1], [np.nan, 0, np.nan], [40, np.nan, 3]])


def test_the_clinical_risk_ranks_patients_it_has_not_seen() -> None:
    found = []
    for seed in range(10):
        time, event, columns = cohort(seed)
        test = np.arange(80, 120)
        risk = ridge_cox_risk(columns, time, event, TRAIN)
        found.append(concordance(time[test], event[test], risk[test]).c_index)
    assert np.mean(found) > 0.65


def test_the_clinical_risk_does_not_know_test_patients() -> None:
    """Other test patients' outcomes and values are replaced: those of patient 119 stay as they are."""
    time, event, columns = cohort()
    expected = ridge_cox_risk(columns, time, event, TRAIN)
    poisoned = [array.copy() for array in (columns, time, event)]
    for array, poison in zip(poisoned, (1e3, 1e6, 1), strict=True):
        array[80:119] = poison
    assert_allclose(ridge_cox_risk(*poisoned, TRAIN)[[*TRAIN, 119]], expected[[*TRAIN, 119]])
    assert not np.allclose(ridge_cox_risk(*poisoned, np.arange(120))[119], expected[119])


def test_the_clinical_risk_is_unknown_where_it_cannot_be_learnt() -> None:
    time, event, columns = cohort()
    assert np.isnan(ridge_cox_risk(columns, time, np.zeros(120), TRAIN)).all()
    assert np.isnan(ridge_cox_risk(np.full((120, 3), np.nan), time, event, TRAIN)).all()


def test_pairs_across_strata_are_not_counted() -> None:
    """A risk that only knows the project is perfect across projects, and knows nothing within."""
    time, event = np.array([1.0, 2, 3, 11, 12, 13]), np.ones(6, dtype=int)
    project = np.array(["GBM"] * 3 + ["LGG"] * 3)
    risk, everybody = (project == "GBM").astype(float)[None], np.ones((1, 6), dtype=bool)
    assert score_folds(time, event, risk, np.zeros(6, int), everybody).pooled.c_index == pytest.approx(12 / 15)
    within = score_within(time, event, risk, np.zeros(6, int), everybody, project)
    assert (within.c_index, within.comparable) == (0.5, 6)
    assert score_within(time, event, risk, np.array([0, 0, 0, 1, 1, -1]), everybody, project).comparable == 4


def test_one_stratum_is_no_stratum() -> None:
    time, event, columns = cohort()
    risk, tested_in = columns[None, :, 0], np.arange(120) % 5
    valid = np.isfinite(risk)
    within = score_within(time, event, risk, tested_in, valid, np.full(120, "ACC"))
    assert_allclose(within.influence, score_folds(time, event, risk, tested_in, valid).pooled.influence)


def drawn(random: np.random.Generator, own: float) -> tuple[np.ndarray, ...]:
    clinical, risk = random.normal(size=(2, 150))
    fold = np.arange(150) % 5
    score = clinical + own * risk + fold
    dies, leaves = random.exponential(np.exp(-score)), random.exponential(0.5, 150)
    # A model that knows no more than the clinic does: its risk goes with outcome, through the clinical one alone.
    return np.minimum(dies, leaves), dies <= leaves, risk + clinical, clinical, fold


@pytest.mark.slow
def test_a_risk_that_only_repeats_the_clinic_gains_nothing_beyond_it() -> None:
    random = np.random.default_rng(2)
    p_values, unadjusted = [], []
    for draw in range(60):
        time, event, risk, clinical, fold = drawn(random, 0.0)
        p_values.append(gain_beyond(time, event, risk, clinical[:, None], [fold]).p_value)
        if draw < 10:
            unadjusted.append(gain_beyond(time, event, risk, np.empty((150, 0)), [fold]).p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(unadjusted) < 0.05) > 0.9, "alone, it looks like a prognosis"


def test_what_a_risk_adds_is_found() -> None:
    random = np.random.default_rng(3)
    found = [gain_beyond(*drawn(random, 0.5)[:3], drawn(random, 0.5)[3][:, None]) for _ in range(3)]
    assert all(of.hazard_ratio > 1 and of.lower < of.hazard_ratio < of.upper for of in found)
    time, event, risk, clinical, fold = drawn(random, 0.7)
    gained = gain_beyond(time, event, risk, clinical[:, None], [fold])
    assert gained.p_value < 0.01
    assert gained.lower > 1


def test_a_gain_that_cannot_be_fitted_says_why() -> None:
    time, event, columns = cohort()
    few = np.zeros(120)
    few[:5] = 1
    assert gain_beyond(time, few, columns[:, 0], columns[:, 1:2]).reason.endswith("events for 2 risks")
    assert gain_beyond(time, event, np.ones(120), columns[:, 1:2]).reason == "the risk is the same for everybody"


def test_risks_are_standardised_within_folds() -> None:
    found = standardised_within([1, 3, 100, 300, 7], [0, 0, 1, 1, 2])
    assert found.tolist() == [-1, 1, -1, 1, 0]
