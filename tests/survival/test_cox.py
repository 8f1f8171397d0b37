"""Cox's partial likelihood against scikit-survival, a plain twin, quadrature and closed forms."""

import numpy as np
import pytest
from scipy.integrate import quad
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from cropkt.survival.cox import GaussianMode, gaussian_mode, partial_likelihood, ridge_cox


def patients(count: int, width: int, *, seed: int = 0, days: float = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, whole times (so that many tie) and events; the first feature drives survival."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, width))
    time = np.ceil(days * random.exponential(np.exp(-features[:, 0])))
    return features, time, (random.random(count) < 0.5).astype(np.int64)


def plain_value(features: np.ndarray, time: np.ndarray, event: np.ndarray, b: np.ndarray) -> float:
    """Efron's log partial likelihood, written down as its formula, one death after the other."""
    risk = np.exp(features @ b)
    total = 0.0
    for moment in np.unique(time[event == 1]):
        dying = (time == moment) & (event == 1)
        for place in range(dying.sum()):
            total -= np.log(risk[time >= moment].sum() - place / dying.sum() * risk[dying].sum())
        total += float((features[dying] @ b).sum())
    return total


def flat(width: int, variance: float = 1e10) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(width), variance * np.eye(width)


@pytest.mark.parametrize("seed", range(4))
def test_value_is_efrons_formula(seed: int) -> None:
    features, time, event = patients(60, 3, seed=seed)
    b = np.random.default_rng(seed).normal(size=3)
    assert partial_likelihood(features, time, event).value(b) == pytest.approx(plain_value(features, time, event, b))


@pytest.mark.parametrize("seed", range(3))
def test_derivatives_are_those_of_the_value(seed: int) -> None:
    likelihood = partial_likelihood(*patients(80, 4, seed=seed), strata=np.arange(80) % 3)
    b = np.random.default_rng(seed).normal(size=4)
    gradient, information = likelihood.derivatives(b)
    steps = 1e-5 * np.eye(4)
    slopes = [(likelihood.value(b + step) - likelihood.value(b - step)) / 2e-5 for step in steps]
    curves = [(likelihood.derivatives(b - step)[0] - likelihood.derivatives(b + step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)
    np.testing.assert_allclose(information, curves, atol=1e-6)


@pytest.mark.parametrize("days", [3, 1000])
def test_without_a_prior_it_is_scikit_survivals_cox_model(days: float) -> None:
    features, time, event = patients(150, 5, days=days)
    ours = gaussian_mode(partial_likelihood(features, time, event), *flat(5)).coefficients
    theirs = CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit(features, Surv.from_arrays(event == 1, time)).coef_
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_gaussian_prior_is_scikit_survivals_ridge() -> None:
    features, time, event = patients(100, 5)
    ours = gaussian_mode(partial_likelihood(features, time, event), *flat(5, 1 / 20)).coefficients
    theirs = CoxPHSurvivalAnalysis(alpha=20, ties="efron", tol=1e-12).fit(features, Surv.from_arrays(event == 1, time))
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-6)


def test_strata_are_never_compared() -> None:
    features, time, event = patients(90, 3)
    strata = np.arange(90) % 3
    b = np.array([0.5, -1.0, 0.2])
    apart = sum(plain_value(features[strata == s], time[strata == s], event[strata == s], b) for s in range(3))
    assert partial_likelihood(features, time, event, strata).value(b) == pytest.approx(apart)
    moved = features + 100 * strata[:, None]
    together, shifted = (partial_likelihood(x, time, event, strata).derivatives(b)[0] for x in (features, moved))
    np.testing.assert_allclose(together, shifted, atol=1e-8)


def test_two_patients_have_a_closed_form() -> None:
    likelihood = partial_likelihood([[1.0], [0.0]], [1, 2], [1, 0])
    assert likelihood.value(np.array([0.7])) == pytest.approx(-np.log1p(np.exp(-0.7)))
    mode = gaussian_mode(likelihood, np.zeros(1), np.eye(1)).coefficients[0]
    assert mode == pytest.approx(1 / (1 + np.exp(mode)))


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.3), (1.0, 0.1)])
def test_laplace_evidence_is_near_the_integral(mean: float, variance: float) -> None:
    likelihood = partial_likelihood(*patients(40, 1))

    def integrand(b: float) -> float:
        prior = np.exp(-0.5 * (b - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
        return float(np.exp(likelihood.value(np.array([b])) - likelihood.value(np.array([mean]))) * prior)

    exact = np.log(quad(integrand, mean - 6, mean + 6)[0]) + likelihood.value(np.array([mean]))
    found = gaussian_mode(likelihood, np.array([mean]), np.array([[variance]])).log_evidence
    assert found == pytest.approx(exact, abs=0.02)


def test_a_singular_prior_moves_only_where_it_may() -> None:
    likelihood = partial_likelihood(*patients(60, 3))
    mean = np.array([0.0, 0.4, -0.1])
    mode = gaussian_mode(likelihood, mean, np.diag([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(mode.coefficients[1:], mean[1:])
    assert mode.coefficients[0] > 0.3
    assert likelihood.derivatives(mode.coefficients)[0][0] == pytest.approx(mode.coefficients[0], abs=1e-4)


def test_no_event_leaves_the_prior() -> None:
    features, time, event = patients(20, 3)
    mode = gaussian_mode(partial_likelihood(features, time, 0 * event), np.arange(3.0), np.eye(3))
    assert mode.log_evidence == 0
    np.testing.assert_array_equal(mode.coefficients, np.arange(3.0))
    np.testing.assert_allclose(mode.covariance, np.eye(3))


def finite(mode: GaussianMode) -> bool:
    parts = (mode.coefficients, mode.covariance, mode.information, mode.log_evidence)
    return all(np.isfinite(part).all() for part in parts)


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e6])
def test_two_events_of_forty_patients_on_24_axes_are_safe(factor: float) -> None:
    features, time, _ = patients(40, 24)
    features[:, 3] = 7.0
    event = np.zeros(40)
    event[[5, 21]] = 1
    likelihood = partial_likelihood(factor * features, time, event)
    mode = gaussian_mode(likelihood, *flat(24, 1.0))
    assert finite(mode)
    assert mode.coefficients[3] == 0
    assert np.isfinite(likelihood.value(factor * np.ones(24)))
    assert np.isfinite(likelihood.derivatives(factor * np.ones(24))[1]).all()


def test_ridge_in_patients_span_is_ridge_in_all_dimensions() -> None:
    features, time, event = patients(30, 50)
    model = ridge_cox(features, time, event, seed=0)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    full = gaussian_mode(partial_likelihood(scaled, time, event), *flat(50, model.spread**2 / 50)).coefficients
    np.testing.assert_allclose(model.coefficients, full, atol=1e-5)


def test_ridge_chooses_little_where_there_is_nothing_and_more_where_there_is_much() -> None:
    random = np.random.default_rng(1)
    features, time, event = patients(200, 4)
    nothing = [ridge_cox(random.normal(size=(60, 40)), time[:60], event[:60], seed=s).spread for s in range(8)]
    assert np.median(nothing) < 0.3
    assert ridge_cox(features, time, event, seed=0).spread > 0.5


def test_ridge_is_safe_with_one_and_two_events_and_refuses_none() -> None:
    features, time, _ = patients(40, 1536)
    features[:, 7] = 3.0
    event = np.zeros(40, dtype=np.int64)
    with pytest.raises(ValueError, match="no event"):
        ridge_cox(features, time, event, seed=0)
    for died in (5, 21):
        event[died] = 1
        model = ridge_cox(features, time, event, seed=0)
        assert np.isfinite(model.risk(features)).all()
        assert model.coefficients[7] == 0


@pytest.mark.parametrize(
    ("features", "time", "message"), [([[np.nan], [1.0]], [1, 2], "impute"), ([[1.0]], [1, 2], "shapes")]
)
def test_bad_input_is_refused(features: list, time: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partial_likelihood(features, time, [1, 0])
