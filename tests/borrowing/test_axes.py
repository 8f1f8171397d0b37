"""Axes from moments are the axes of the patients, every cohort weighing the same."""

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort

from cropkt.borrowing.axes import RANK, build_axes, cohort_moments
from cropkt.errors import InputError

COHORTS = [made_up_cohort(name, patients=count) for name, count in (("a", 40), ("b", 90), ("c", 200))]


def pooled_covariance() -> np.ndarray:
    """Of patients centred in their cohort, each weighing 1 / (size - 1) of its cohort, in pooled deviations."""
    centred = [(c.features - c.features.mean(axis=0)) / np.sqrt(3 * (len(c.features) - 1)) for c in COHORTS]
    together = np.vstack(centred)
    scale = np.sqrt(np.square(together).sum(axis=0))
    return (together / scale).T @ (together / scale)


def test_axes_of_full_moments_are_those_of_all_patients_pooled() -> None:
    axes = build_axes([cohort_moments(c.cohort, c.features, rank=12) for c in COHORTS], 4)
    values, vectors = np.linalg.eigh(pooled_covariance())
    expected = vectors[:, ::-1][:, :4] / np.sqrt(values[::-1][:4])
    overlap = np.abs(np.diag(np.linalg.pinv(expected) @ axes.directions))
    np.testing.assert_allclose(overlap, 1, atol=1e-8)


def test_patients_have_unit_variance_within_cohorts_and_no_correlation() -> None:
    axes = build_axes([cohort_moments(c.cohort, c.features) for c in COHORTS], 4)
    covariance = np.mean([np.cov(axes.project(c.features).T) for c in COHORTS], axis=0)
    np.testing.assert_allclose(covariance, np.eye(4), atol=1e-8)


def test_a_cohorts_size_and_place_do_not_turn_the_axes() -> None:
    moments = [cohort_moments(c.cohort, c.features) for c in COHORTS]
    tenfold = np.tile(COHORTS[2].features, (10, 1)) + 100
    grown = [*moments[:2], cohort_moments("c", tenfold)]
    np.testing.assert_allclose(build_axes(moments, 4).directions, build_axes(grown, 4).directions, atol=0.01)


def test_few_axes_of_wide_features_are_those_of_all_of_them() -> None:
    """Above DENSE features the leading axes are found by iteration."""
    moments = [cohort_moments(c, made_up_cohort(c, patients=60, width=400).features) for c in "xyz"]
    few, many = build_axes(moments, 6), build_axes(moments, 120)
    np.testing.assert_allclose(few.directions, many.directions[:, :6], atol=1e-6)


def test_short_factors_give_nearly_the_same_axes_and_never_as_many_axes_as_patients() -> None:
    wide = [made_up_cohort(c, patients=40, width=300) for c in "xyzuvw"]
    short = [cohort_moments(c.cohort, c.features) for c in wide]
    assert {len(moments.factor) for moments in short} == {20}
    assert len(cohort_moments("big", made_up_cohort("big", patients=300, width=200).features).factor) == RANK
    full = [cohort_moments(c.cohort, c.features, rank=39) for c in wide]
    one, other = (np.linalg.qr(build_axes(moments, 4).directions)[0] for moments in (short, full))
    assert np.linalg.svd(one.T @ other)[1].min() > 0.99


def test_constant_features_count_for_nothing() -> None:
    moments, changed = [], []
    for cohort in COHORTS:
        features = cohort.features.copy()
        features[:, 5] = 3.0
        moments.append(cohort_moments(cohort.cohort, features))
        changed.append(features)
    axes = build_axes(moments, 4)
    assert np.isfinite(axes.directions).all()
    elsewhere = changed[0].copy()
    elsewhere[:, 5] = 1e6
    np.testing.assert_array_equal(axes.project(changed[0]), axes.project(elsewhere))


def test_no_more_axes_than_there_are() -> None:
    moments = [cohort_moments("a", np.outer(np.arange(6.0), np.ones(9)))]
    assert build_axes(moments, 4).directions.shape == (9, 1)


@pytest.mark.parametrize(
    ("features", "message"),
    [(np.ones((1, 3)), "2 or more"), (np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 1.0]]), "row 1")],
)
def test_moments_refuse_bad_patients(features: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cohort_moments("acc", features)


def test_axes_refuse_cohorts_that_do_not_go_together() -> None:
    narrow = cohort_moments("a", np.random.default_rng(0).normal(size=(9, 3)))
    wide = cohort_moments("b", np.random.default_rng(0).normal(size=(9, 4)))
    with pytest.raises(InputError, match="one width"):
        build_axes([narrow, wide])
    with pytest.raises(InputError, match="of none"):
        build_axes([])
    with pytest.raises(InputError, match="no feature varies"):
        build_axes([cohort_moments("a", np.ones((9, 3)))])
