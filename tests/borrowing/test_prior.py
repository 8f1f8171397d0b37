"""The prior over cohorts against dense linear algebra, quadrature and a closed form."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.linalg import block_diag
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal

from cropkt.borrowing.prior import (
    Hyperparameters,
    _from_point,
    _to_point,
    _Told,
    _value_and_slope,
    fit_cohort_model,
    log_marginal_likelihood,
)
from cropkt.borrowing.summary import Summary
from cropkt.errors import InputError

HYPER = Hyperparameters(shared=0.3, near=0.5, reach=1.2, own=0.2, decay=0.7)


def made_up_summaries(cohorts: int, axes: int, seed: int = 0) -> list[Summary]:
    """The last one tells nothing: a cohort without events."""
    random = np.random.default_rng(seed)
    summaries = []
    for number in range(cohorts):
        rows = random.normal(size=(6, axes))
        linear, centroid = random.normal(size=axes), random.normal(size=4)
        summaries.append(Summary(f"c{number}", 6, 3, rows.T @ rows, linear, centroid, "these"))
    silent = replace(summaries[-1], events=0, information=np.zeros((axes, axes)), linear=np.zeros(axes))
    return [*summaries[:-1], silent]


def covariance(centroids: np.ndarray, axes: int) -> np.ndarray:
    """(C K, C K), written down from the definition."""
    distance = cdist(centroids, centroids)
    kernel = 0.3 + 0.5 * np.exp(-(distance**2) / (2 * 1.2**2)) + 0.2 * np.eye(len(centroids))
    return np.kron(kernel, np.diag(np.arange(1.0, axes + 1) ** -0.7))


def test_marginal_likelihood_is_the_integral() -> None:
    """Two cohorts, one axis: quadrature over both coefficients."""
    summaries = made_up_summaries(3, 1)[:2]
    prior = multivariate_normal(np.zeros(2), covariance(np.stack([s.centroid for s in summaries]), 1))

    def integrand(b: float, c: float) -> float:
        exponents = [s.linear[0] * x - 0.5 * s.information[0, 0] * x**2 for s, x in zip(summaries, (b, c), strict=True)]
        return float(np.exp(sum(exponents)) * prior.pdf([b, c]))

    exact = np.log(dblquad(integrand, -6, 6, -6, 6)[0])
    assert log_marginal_likelihood(summaries, HYPER) == pytest.approx(exact, abs=1e-6)


def test_marginal_likelihood_of_many_axes_is_that_of_dense_algebra() -> None:
    summaries = made_up_summaries(5, 3)
    prior = covariance(np.stack([s.centroid for s in summaries]), 3)
    information = block_diag(*[s.information for s in summaries])
    linear = np.concatenate([s.linear for s in summaries])
    settled = np.linalg.solve(np.linalg.inv(prior) + information, linear)
    exact = 0.5 * linear @ settled - 0.5 * np.linalg.slogdet(np.eye(15) + prior @ information)[1]
    assert log_marginal_likelihood(summaries, HYPER) == pytest.approx(exact)


def test_its_slope_is_that_of_finite_differences() -> None:
    summaries = tuple(made_up_summaries(5, 3))
    point = _to_point(HYPER)

    def value(moved: np.ndarray) -> float:
        return log_marginal_likelihood(summaries, _from_point(moved))

    differences = [(value(point + step) - value(point - step)) / 2e-5 for step in 1e-5 * np.eye(5)]
    np.testing.assert_allclose(_value_and_slope(_Told.by(summaries), HYPER)[1], differences, atol=1e-6)


def test_the_targets_prior_is_the_conditional_of_the_joint() -> None:
    """The target as one more cohort without outcomes: its part of the joint posterior, by dense algebra."""
    summaries = made_up_summaries(5, 3)
    centroid = np.array([0.3, -0.5, 0.1, 0.9])
    joint = covariance(np.stack([*(s.centroid for s in summaries), centroid]), 3)
    information = block_diag(*[s.information for s in summaries], np.zeros((3, 3)))
    linear = np.concatenate([*(s.linear for s in summaries), np.zeros(3)])
    posterior = np.linalg.inv(np.linalg.inv(joint) + information)
    prior = fit_cohort_model(summaries, HYPER).prior(centroid)
    np.testing.assert_allclose(prior.mean, (posterior @ linear)[-3:], atol=1e-10)
    np.testing.assert_allclose(prior.covariance, posterior[-3:, -3:], atol=1e-10)
    np.testing.assert_allclose(prior.contributions.sum(axis=0), prior.mean)
    np.testing.assert_array_equal(prior.contributions[-1], np.zeros(3))


@pytest.mark.parametrize("number", range(5))
def test_a_cohort_taken_back_is_as_if_it_had_never_been_there(number: int) -> None:
    summaries = made_up_summaries(5, 3)
    rest = fit_cohort_model(summaries[:number] + summaries[number + 1 :], HYPER)
    expected = rest.prior(summaries[number].centroid)
    mean, covariance = fit_cohort_model(summaries, HYPER).without(number)
    np.testing.assert_allclose(mean, expected.mean, atol=1e-10)
    np.testing.assert_allclose(covariance, expected.covariance, atol=1e-10)


def test_one_lender_at_the_same_place_has_a_closed_form() -> None:
    """b ~ N(0, 1), shared but for `own`; the lender says information 4, linear 2."""
    hyper = Hyperparameters(shared=0.6, near=0.3, reach=1.0, own=0.1, decay=0.0)
    lender = Summary("one", 9, 9, np.array([[4.0]]), np.array([2.0]), np.zeros(2), "these")
    prior = fit_cohort_model([lender], hyper).prior(np.zeros(2))
    assert prior.mean[0] == pytest.approx(0.9 * 0.5 / (1 + 1 / 4))
    assert prior.covariance[0, 0] == pytest.approx(1 - 0.9**2 / (1 + 1 / 4))


def test_hyperparameters_find_what_was_planted() -> None:
    """Many cohorts that share much: a large part in common; cohorts that share nothing: none of it."""
    random = np.random.default_rng(3)
    axes, cohorts = 6, 40
    common = random.normal(size=axes) * 0.5
    shares = {}
    for shared in (True, False):
        summaries = []
        for number in range(cohorts):
            b = common if shared else random.normal(size=axes) * 0.5
            rows = 40 * np.eye(axes)
            linear = rows @ b + np.sqrt(40) * random.normal(size=axes)
            summaries.append(Summary(f"c{number}", 99, 40, rows, linear, random.normal(size=3) * 50, "these"))
        hyper = fit_cohort_model(summaries).hyperparameters
        shares[shared] = (hyper.shared + hyper.near) / hyper.variance
    assert shares[True] > 0.9
    assert shares[False] < 0.3


def test_likelihood_is_highest_where_the_search_ends() -> None:
    summaries = made_up_summaries(12, 3)
    best = fit_cohort_model(summaries).hyperparameters
    top = log_marginal_likelihood(summaries, best)
    for factor in (0.8, 1.25):
        for field in ("shared", "near", "reach", "own", "decay"):
            other = replace(best, **{field: getattr(best, field) * factor})
            assert log_marginal_likelihood(summaries, other) < top + 0.01, (field, factor)


def test_summaries_of_other_axes_are_refused() -> None:
    summaries = made_up_summaries(3, 2)
    with pytest.raises(InputError, match="different axes"):
        fit_cohort_model([*summaries, replace(summaries[0], axes="others")])
    with pytest.raises(InputError, match="or none"):
        fit_cohort_model([])
