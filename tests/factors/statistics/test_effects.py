"""From tables of facts to findings: what was planted is found, what was not is not, and a left-out target stays out."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from cropkt.factors.size_and_power import PLANTED, UNPLANTED, power_table, tables_of
from cropkt.factors.statistics.effects import OUTCOME, factor_table, irrelevant_factors, variance_table
from cropkt.factors.statistics.prediction import (
    METHODS,
    predict_left_out,
    score_predictions,
    summarise_predictions,
    verdict,
)
from cropkt.simulation.matrix import MatrixDesign, simulate_matrix
from cropkt.transfer.significance import q_values


def test_planted_factors_are_found_and_irrelevant_ones_are_not() -> None:
    design = MatrixDesign(cohorts=20, group=0.8, distance=0.8, target=0.3)
    table = power_table(seeds=2, seed=0, design=design, permutations=99).set_index("factor")
    assert table.loc["same_group", "found_positive"] == 2
    assert table.loc["distance", "found"] == 2
    assert table.loc["distance", "found_positive"] == 0
    assert table.loc[list(UNPLANTED), "found"].sum() == 0
    assert list(table.index) == [*PLANTED, *UNPLANTED]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_fact_about_cohorts_is_tested_against_the_effects_of_its_side(side: str) -> None:
    pairs, cohorts, errors = tables_of(simulate_matrix(MatrixDesign(cohorts=14), seed=1))
    random = np.random.default_rng(0)
    cohorts = cohorts.assign(fact=random.standard_normal(len(cohorts)))
    fact = pairs[side].map(cohorts.set_index("cohort")["fact"])
    pairs = pairs.assign(**{OUTCOME: 0.6 + 0.05 * fact + random.normal(scale=0.02, size=len(pairs))})
    _, null = variance_table(pairs, errors)
    table = factor_table(pairs, cohorts, null, errors, ["source:fact", "target:fact"], permutations=99)
    p_value, slope = (table.set_index("factor")[column] for column in ("p_value", "coefficient"))
    other = {"source": "target", "target": "source"}[side]
    assert p_value[f"{side}:fact"] == 0.01
    assert slope[f"{side}:fact"] == pytest.approx(0.05, abs=0.01)
    assert p_value[f"{other}:fact"] > 0.05


def test_variance_shares_follow_what_makes_targets_differ() -> None:
    shares = []
    for spread in (0.0, 1.0):
        pairs, _, errors = tables_of(simulate_matrix(MatrixDesign(target=spread), seed=2))
        table, _ = variance_table(pairs, errors)
        assert_allclose(table["share"].sum(), 1)
        shares.append(table.set_index("part")["share"])
    assert shares[1]["target"] > shares[0]["target"]


def test_q_values_skip_what_has_no_p_value() -> None:
    assert_allclose(q_values(pd.Series([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert np.isnan(q_values(pd.Series([np.nan]))).all()


def test_factors_that_use_the_targets_outcomes_are_flagged_and_never_found() -> None:
    """Nothing transfers; two factors have the luck of the target's patients in them, as its own models' do."""
    pairs, cohorts, errors = tables_of(simulate_matrix(MatrixDesign(cohorts=16, transfer=False), seed=5))
    random = np.random.default_rng(6)
    luck = pairs.groupby("target")[OUTCOME].mean().reindex(cohorts["cohort"]).to_numpy()
    cohorts = cohorts.assign(c_index_self=luck + 0.5 * luck.std() * random.standard_normal(len(luck)))
    pairs = pairs.assign(weight_cosine=pairs[OUTCOME] + 0.05 * random.standard_normal(len(pairs)))
    _, null = variance_table(pairs, errors)
    names = ["irrelevant_pair", "source:c_index_self", "target:c_index_self", "weight_cosine"]
    found = factor_table(pairs, cohorts, null, errors, names, permutations=199).set_index("factor").loc[names]
    circular = ["target:c_index_self", "weight_cosine"]
    assert found["uses_target_outcomes"].tolist() == [False, False, True, True]
    assert (found.loc[circular, "p_value"] < 0.05).all(), "the luck is there to be seen"
    assert found.loc[circular, "q_value"].isna().all()
    others = found.drop(index=circular)
    assert_allclose(others["q_value"], q_values(others["p_value"]), err_msg="the family is that of the others")
    counted = factor_table(pairs, cohorts, null, errors, names, permutations=199, circular=()).set_index("factor")
    assert (counted.loc[circular, "q_value"] < 0.05).all(), "counted in the family, both would be called found"


def test_irrelevant_factors_are_drawn_by_seed_and_symmetric() -> None:
    codes = [f"c{number}" for number in range(8)]
    cohorts, pairs = irrelevant_factors(codes, 1)
    again, _ = irrelevant_factors(codes, 1)
    other, _ = irrelevant_factors(codes, 2)
    pd.testing.assert_frame_equal(cohorts, again)
    assert not np.allclose(cohorts["irrelevant_cohort"], other["irrelevant_cohort"])
    wide = pairs.pivot(index="source", columns="target", values="irrelevant_pair").to_numpy()
    off = ~np.eye(8, dtype=bool)
    assert_allclose(wide[off], wide.T[off])


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A simulated matrix with the factors that predictions use."""
    pairs, cohorts, errors = tables_of(simulate_matrix(MatrixDesign(cohorts=14), seed=3))
    spread = [
        np.sqrt(errors[target].loc[source, source])
        for source, target in zip(pairs["source"], pairs["target"], strict=True)
    ]
    random = np.random.default_rng(0)
    pairs = pairs.assign(standard_error=spread, mmd_patches=pairs["distance"] ** 2, same_organ=0.0)
    for name in ("mmd_patients", "frechet_patches", "accuracy_patients", "size_gap"):
        pairs[name] = random.standard_normal(len(pairs))
    facts = ("log_patients", "event_rate", "rmst", "dispersion_patches", "participation_ratio")
    return pairs, cohorts.assign(**{name: random.standard_normal(len(cohorts)) for name in facts})


def test_a_left_out_target_has_no_part_in_its_own_prediction(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    pairs, cohorts = tables
    before = predict_left_out(pairs, cohorts)
    changed = pairs.copy()
    touched = (pairs["target"] == "c05") | (pairs["source"] == "c05")
    changed.loc[touched, OUTCOME] = np.random.default_rng(9).random(touched.sum())
    after = predict_left_out(changed, cohorts)
    columns = [f"predicted:{method}" for method in METHODS] + ["baseline"]
    of_target = before["target"] == "c05"
    assert_allclose(before.loc[of_target, columns], after.loc[of_target, columns])
    assert not np.allclose(before.loc[~of_target, columns], after.loc[~of_target, columns])


def test_in_training_a_sources_record_leaves_the_cell_out_that_it_predicts(
    tables: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def ridge(factors: pd.DataFrame, train: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
        fitted.append((factors, train))
        return np.zeros(len(asked))

    monkeypatch.setattr("cropkt.factors.statistics.prediction._ridge", ridge)
    predict_left_out(*tables)
    factors, train = next((given, train) for given, train in fitted if "record" in given)
    easier = train.groupby("target")[OUTCOME].transform("mean") - train[OUTCOME].mean()
    for row in train.index[:20]:
        others = (train["source"] == train["source"][row]) & (train.index != row)
        assert factors["record"][row] == pytest.approx((train[OUTCOME] - easier)[others].mean())


def test_predictions_find_the_planted_distance(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    pairs, cohorts = tables
    predicted = predict_left_out(pairs, cohorts)
    scores = score_predictions(predicted)
    summary = summarise_predictions(predicted, scores).set_index("method")
    assert summary.loc["factors", "rank_correlation"] > 0.2
    assert summary.loc["factors", "regret"] < summary.loc["factors", "regret_random"]
    shuffled = pairs.assign(**{OUTCOME: np.random.default_rng(1).permutation(pairs[OUTCOME])})
    by_chance = predict_left_out(shuffled, cohorts)
    of_chance = score_predictions(by_chance)
    chance = summarise_predictions(by_chance, of_chance)
    assert abs(chance.set_index("method").loc["factors", "rank_correlation"]) < 0.15
    assert "not shown to be useful" in verdict(chance, of_chance)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ([0.1] * 12, "that it beats the simple rule is not shown"),
        ([0.05] * 12, "but the simple rule saves more"),
        ([0.15] * 12, "more than the simple rule does"),
        ([0.05] * 5 + [0.16] * 7, "that it beats the simple rule is not shown"),
    ],
)
def test_a_prediction_is_only_said_to_beat_a_rule_when_it_is_shown(rule: list[float], told: str) -> None:
    """Regrets of 12 targets; a random source loses .2, the prediction .1, the best rule `rule` with a little noise."""
    noise = np.linspace(-1e-3, 1e-3, 12)
    regrets = dict.fromkeys(METHODS, 0.2 + 0 * noise) | {"factors and source's record": 0.1 + 0 * noise}
    regrets["nearest"] = np.array(rule) + noise
    random = 0.2 + np.linspace(1e-4, 2e-4, 12)
    scores = pd.concat(
        pd.DataFrame({"target": range(12), "method": method, "regret": regret, "regret_random": random})
        for method, regret in regrets.items()
    ).assign(rank_correlation=0.5)
    predicted = pd.DataFrame({OUTCOME: [0.4, 0.6], "baseline": 0.5, **{f"predicted:{m}": 0.5 for m in METHODS}})
    assert told in verdict(summarise_predictions(predicted, scores), scores)


def test_regret_is_what_a_choice_loses_to_the_best_source() -> None:
    columns = {f"predicted:{method}": [0.9, 0.1, 0.2, 0.3] for method in METHODS}
    predicted = pd.DataFrame({"source": list("abcd"), "target": "t", OUTCOME: [0.6, 0.7, 0.5, 0.4], **columns})
    scores = score_predictions(predicted.assign(baseline=0.5))
    row = scores.iloc[0]
    assert row["chosen"] == "a"
    assert_allclose(row["regret"], 0.1)
    assert_allclose(row["regret_random"], 0.7 - 0.55)
    assert_allclose(row["rank_correlation"], -0.4)
