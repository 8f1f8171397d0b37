"""Comparisons with baselines, false discovery control and verdicts."""

import numpy as np
import pandas as pd
import pytest

from cropkt.survival.concordance import concordance, p_value_of_difference, standard_error
from cropkt.transfer.significance import FEWEST_EVENTS, TargetPredictions, collect_predictions, compare, judge

PATIENTS = 100


def predictions(seed: int = 0, **risk: np.ndarray) -> TargetPredictions:
    random = np.random.default_rng(seed)
    truth = random.normal(size=PATIENTS)
    time = random.exponential(np.exp(-truth))
    event = (random.random(PATIENTS) < 0.7).astype(np.int64)
    names = tuple(f"p{number}" for number in range(PATIENTS))
    good = truth + random.normal(scale=0.5, size=(5, PATIENTS))
    held = {"good": good, "copy": good.copy(), "bad": random.normal(size=(5, PATIENTS))}
    held["random"] = random.normal(size=(10, PATIENTS))
    own = np.full((5, PATIENTS), np.nan)
    tested_in = np.arange(PATIENTS) % 5
    own[tested_in, np.arange(PATIENTS)] = good[0]
    return TargetPredictions("acc", names, time, event, tested_in, {**held, "acc": own, **risk})


def rows(found: TargetPredictions) -> dict[str, dict]:
    rows: dict[str, dict] = {}
    for row in compare(found):
        values = {f"difference_{row.against}": row.difference, f"p_{row.against}": row.p_value}
        rows.setdefault(row.source, {"target": row.target}).update(values)
    return rows


def test_a_good_source_beats_random_weights_and_a_bad_one_does_not() -> None:
    found = rows(predictions())
    assert set(found) == {"good", "copy", "bad"}
    assert found["good"]["difference_random"] > 0.1
    assert found["good"]["p_random"] < 0.05
    assert found["bad"]["p_random"] > 0.05
    assert found["bad"]["difference_self"] < -0.1
    assert found["bad"]["p_self"] < 0.01
    assert found["good"] == found["copy"]
    assert "difference_mean_cox" not in found["good"]


def test_models_that_say_the_same_do_not_differ() -> None:
    base = predictions()
    same = predictions(mean_cox=base.risk["good"])
    row = rows(same)["good"]
    assert row["difference_mean_cox"] == 0
    assert np.isnan(row["p_mean_cox"])


def test_the_spread_of_random_models_counts() -> None:
    base = predictions()
    truth = base.risk["good"].mean(axis=0)
    noise = np.random.default_rng(3).normal(scale=0.1, size=(10, PATIENTS))
    alternating = np.where(np.arange(10)[:, None] % 2, 1, -1) * truth + noise
    wide = rows(predictions(random=alternating))["good"]
    assert wide["difference_random"] == pytest.approx(rows(base)["good"]["difference_random"], abs=0.1)
    assert wide["p_random"] > 0.05 > rows(base)["good"]["p_random"]


def test_the_error_against_random_models_is_that_of_one_more_of_them() -> None:
    """With M = 2 models of variance v among them, one more differs from their mean by v (1 + 1/2)."""
    found = predictions(random=np.random.default_rng(8).normal(size=(2, PATIENTS)))
    good, random = found.scores("good").pooled, found.scores("random").pooled
    cells = [
        [concordance(found.time[of], found.event[of], model[of]) for of in (found.tested_in == f for f in range(5))]
        for model in found.risk["random"]
    ]
    c_index = [sum(c.concordant for c in of_model) / sum(c.comparable for c in of_model) for of_model in cells]
    error = np.hypot(standard_error(good.influence - random.influence), np.sqrt(np.var(c_index, ddof=1) * 1.5))
    difference = good.c_index - random.c_index
    expected = p_value_of_difference(difference, error, int(found.event.sum()))
    assert rows(found)["good"]["p_random"] == pytest.approx(expected)
    assert expected > 2 * p_value_of_difference(difference, standard_error(good.influence - random.influence), 70)


def test_prediction_tables_are_put_side_by_side() -> None:
    def table(folds: list[int], risk: list[float], patients: list[str]) -> pd.DataFrame:
        return pd.DataFrame(
            {"patient_id": patients, "time": 1.0, "event": 1, "target_fold": 0, "source_fold": folds, "risk": risk}
        )

    found = collect_predictions("acc", {"a": table([0, 1, 0], [1, 2, 3], ["x", "x", "y"]), "b": table([0], [4], ["z"])})
    assert found.patients == ("x", "y", "z")
    np.testing.assert_array_equal(found.risk["a"], [[1, 3, np.nan], [2, np.nan, np.nan]])
    np.testing.assert_array_equal(found.risk["b"], [[np.nan, np.nan, 4]])


def pair(**changes: object) -> dict:
    row = {"source": "a", "target": "b", "encoder": "e", "architecture": "abmil", "mode": "transfer"}
    row |= {"c_index_pooled": 0.7, "n_events": 30, "n_comparable": 500, "p_chance": 0.001}
    for name in ("random", "mean_cox", "size", "self"):
        row |= {f"difference_{name}": 0.1, f"p_{name}": 0.001}
    return {**row, **changes}


VERDICTS = {
    "transfers": pair(),
    "better than chance": pair(difference_random=-0.1),
    "not shown": pair(p_chance=0.2),
    "worse than chance": pair(c_index_pooled=0.3),
    "cannot tell": pair(n_events=FEWEST_EVENTS - 1),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_verdicts(verdict: str) -> None:
    assert judge(pd.DataFrame([VERDICTS[verdict]]))["verdict"].tolist() == [verdict]


def test_a_pair_compared_with_no_baseline_cannot_be_said_to_transfer() -> None:
    row = pair(difference_random=np.nan, p_random=np.nan)
    assert judge(pd.DataFrame([row]))["verdict"].tolist() == ["better than chance"]


def test_q_values_are_those_of_benjamini_and_hochberg_over_the_pairs_that_count() -> None:
    table = pd.DataFrame(
        [
            pair(p_chance=0.01),
            pair(p_chance=0.02),
            pair(p_chance=0.04),
            pair(p_chance=0.9),
            pair(p_chance=0.001, mode="self"),
            pair(p_chance=0.0001, n_comparable=3),
            pair(p_chance=0.03, architecture="mean"),
        ]
    )
    judged = judge(table)
    np.testing.assert_allclose(judged["q_chance"], [0.04, 0.04, 0.16 / 3, 0.9, np.nan, np.nan, 0.03])
    assert np.isnan(judged["p_chance"][5])
    assert judged["verdict"][4] is None or pd.isna(judged["verdict"][4])
