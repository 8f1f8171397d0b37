"""The mixed model: statsmodels where it can be asked, dense matrices where it cannot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.stats import t as student_t

from cropkt.factors.size_and_power import tables_of
from cropkt.factors.statistics.effects import OUTCOME
from cropkt.factors.statistics.mixed import fit_mixed, own_variance
from cropkt.factors.statistics.regression import beta_table, mixed_table, ols_table, usable
from cropkt.simulation.matrix import MatrixDesign, simulate_matrix

COHORTS = 12


def cells(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, design, source, target of all pairs, with effects of both sides and a factor that counts 0.03."""
    random = np.random.default_rng(seed)
    source, target = np.nonzero(~np.eye(COHORTS, dtype=bool))
    factor = random.standard_normal(len(source))
    outcome = 0.5 + 0.03 * factor + 0.04 * random.standard_normal(len(source))
    outcome += 0.05 * random.standard_normal(COHORTS)[source] + 0.07 * random.standard_normal(COHORTS)[target]
    return outcome, np.column_stack([np.ones(len(source)), factor]), source, target


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.ConvergenceWarning")
def test_without_known_errors_it_is_statsmodels_mixed_model() -> None:
    outcome, design, source, target = cells(1)
    table = pd.DataFrame({"y": outcome, "x": design[:, 1], "of": source, "on": target, "all": 1})
    parts = {"of": "0 + C(of)", "on": "0 + C(on)"}
    reference = sm.MixedLM.from_formula("y ~ x", table, groups="all", vc_formula=parts).fit(reml=True)
    ours = fit_mixed(outcome, design, source, target, levels=["pair"])
    assert_allclose(ours.coefficient, reference.fe_params, rtol=1e-4)
    assert_allclose(ours.standard_error, reference.bse_fe, rtol=0.01)
    expected = [*(reference.vcomp), reference.scale]
    assert_allclose(list(ours.variance.values()), expected, rtol=0.01)
    random_effects = next(iter(reference.random_effects.values())).to_numpy()
    assert_allclose(ours.source_effect, random_effects[:COHORTS], atol=2e-4)
    assert_allclose(ours.target_effect, random_effects[COHORTS:], atol=2e-4)


def dense(
    design: np.ndarray,
    outcome: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
    variance: dict[str, float],
    errors: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Generalised least squares and its sandwich with matrices of all cells, as the module's text says it."""
    source, target = sides
    independent = variance["pair"] * np.eye(len(outcome))
    truth = np.zeros_like(independent)
    for rows, covariance in errors:
        own = own_variance(covariance)
        shared = max(np.trace(covariance) / len(rows) - own, 0)
        independent[rows, rows] += own
        truth[np.ix_(rows, rows)] = covariance - shared - own * np.eye(len(rows))
    total = independent + variance["source"] * (source[:, None] == source)
    total += variance["target"] * (target[:, None] == target)
    inverse = np.linalg.inv(total)
    bread = np.linalg.inv(design.T @ inverse @ design)
    covariance = bread @ design.T @ inverse @ (total + truth) @ inverse @ design @ bread
    return bread @ design.T @ inverse @ outcome, np.sqrt(np.diag(covariance))


def test_with_known_errors_it_is_generalised_least_squares_with_a_sandwich() -> None:
    outcome, design, source, target = cells(2)
    random = np.random.default_rng(3)
    errors = []
    for code in range(COHORTS):
        rows = np.flatnonzero(target == code)
        influence = 0.02 * random.standard_normal((len(rows), 8)) + 0.01 * random.standard_normal(8)
        errors.append((rows, influence @ influence.T))
    ours = fit_mixed(outcome, design, source, target, errors, levels=["pair"])
    coefficient, standard_error = dense(design, outcome, (source, target), ours.variance, errors)
    assert_allclose(ours.coefficient, coefficient, rtol=1e-6)
    assert_allclose(ours.standard_error, standard_error, rtol=1e-6)


def test_a_cohorts_fact_has_the_degrees_of_freedom_of_cohorts() -> None:
    outcome, design, source, target = cells(4)
    fact = np.random.default_rng(5).standard_normal(COHORTS)[source]
    of_source = fit_mixed(outcome, np.column_stack([design[:, 0], fact]), source, target, levels=["source"])
    of_pair = fit_mixed(outcome, np.column_stack([design[:, 0], fact]), source, target, levels=["pair"])
    assert_allclose(of_source.coefficient, of_pair.coefficient)
    assert of_source.p_value[1] > of_pair.p_value[1]


def test_the_interval_and_the_p_value_of_a_cohorts_fact_come_from_one_distribution() -> None:
    """Where p is just below 5 % the interval just leaves 0 out; with the normal's 1.96 it would do so for p of 7 %."""
    random = np.random.default_rng(7)
    cohorts, agree = 9, []
    codes = np.array([f"c{number}" for number in range(cohorts)])
    source, target = np.nonzero(~np.eye(cohorts, dtype=bool))
    errors = {code: pd.DataFrame(np.zeros((cohorts, cohorts)), codes, codes) for code in codes}
    for _ in range(60):
        fact, ease = random.standard_normal((2, cohorts))
        outcome = 0.5 + 0.05 * (0.8 * fact + ease)[source] + 0.03 * random.standard_normal(len(source))
        table = pd.DataFrame({"source": codes[source], "target": codes[target], OUTCOME: outcome})
        found, _ = mixed_table(table.assign(**{"source:fact": fact[source]}), OUTCOME, ["source:fact"], errors)
        row = found.set_index("factor").loc["source:fact"]
        agree.append((row["p_value"] < 0.05) == (not row["lower"] <= 0 <= row["upper"]))
        reach = (row["upper"] - row["lower"]) / 2 / row["standard_error"]
        assert_allclose(reach, student_t.ppf(0.975, cohorts - 2))
    assert all(agree)


def test_known_errors_do_not_pass_for_variance_between_pairs() -> None:
    """In a matrix where nothing transfers all there is is chance, and the pair's own share must be near none."""
    pairs, _, errors = tables_of(simulate_matrix(MatrixDesign(transfer=False), seed=1))
    _, fit = mixed_table(pairs, OUTCOME, [], errors)
    without = {target: covariance * 0 for target, covariance in errors.items()}
    _, blind = mixed_table(pairs, OUTCOME, [], without)
    assert fit.variance["pair"] < 0.2 * blind.variance["pair"]


def test_tables_of_least_squares_and_beta_regression() -> None:
    outcome, design, source, target = cells(6)
    table = pd.DataFrame({"source": source, "target": target, OUTCOME: outcome, "mmd_patches": 7 * design[:, 1] + 2})
    table = table.assign(same_organ=0.0, never=np.nan)
    found = ols_table(table, OUTCOME, ["mmd_patches", "same_organ", "never"]).set_index("factor")
    assert list(found.index) == ["const", "mmd_patches"]
    slope = np.polyfit(design[:, 1], outcome, 1)[0] * design[:, 1].std()
    assert_allclose(found.loc["mmd_patches", "coefficient"], slope)
    assert_allclose(found.loc["mmd_patches", "r_squared"], np.corrcoef(design[:, 1], outcome)[0, 1] ** 2)
    beta = beta_table(table, OUTCOME, ["mmd_patches"]).set_index("factor")
    # Near one half the logit's slope is four times the C-index's.
    assert_allclose(beta.loc["mmd_patches", "coefficient"], 4 * slope, rtol=0.15)
    table.loc[0, OUTCOME] = 1.0  # small cohorts have C-indices of exactly 1
    beta = beta_table(table, OUTCOME, ["mmd_patches"]).set_index("factor")
    assert beta.loc["mmd_patches", "p_value"] < 0.01


def test_rows_with_unknown_factors_are_left_out_but_not_for_a_factor_hardly_known() -> None:
    table = pd.DataFrame({"y": [0.5, 0.6, np.nan, 0.7], "a": [1.0, np.nan, 3, 4], "b": [np.nan, np.nan, np.nan, 1]})
    rows, names = usable(table, "y", ["a", "b", "absent"])
    assert list(rows.index) == [0, 3]
    assert names == ["a"]
