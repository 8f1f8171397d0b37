"""Comparisons with baselines, on the same patients."""

import numpy as np
import pandas as pd
import pytest

from cropkt.survival.concordance import concordance, p_value_of_difference, standard_error
from cropkt.transfer.significance import TargetPredictions, collect_predictions, compare, one_sided

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


def test_both_sides_are_scored_on_the_patients_that_both_score() -> None:
    """A source on everybody and a Cox model of one fold that says the same of its patients do not differ."""
    base = predictions()
    one_fold = np.where(base.tested_in == 0, base.risk["good"], np.nan)
    found = predictions(mean_cox=one_fold)
    assert rows(found)["good"]["difference_mean_cox"] == 0
    there = base.tested_in == 0
    of_fold = [concordance(base.time[there], base.event[there], base.risk[name][0, there]) for name in ("bad", "good")]
    single = predictions(bad=base.risk["bad"][:1], mean_cox=one_fold[:1])
    difference = of_fold[0].c_index - of_fold[1].c_index
    assert rows(single)["bad"]["difference_mean_cox"] == pytest.approx(difference)
    error = standard_error(of_fold[0].influence(of_fold[0].c_index) - of_fold[1].influence(of_fold[1].c_index))
    events = int(of_fold[0].compared_event.sum())
    assert events < base.event[there].sum() or events <= 20
    assert rows(single)["bad"]["p_mean_cox"] == pytest.approx(p_value_of_difference(difference, error, events))


def test_models_that_do_not_know_the_target_are_compared_on_all_its_pairs() -> None:
    """The untrained start and a source: folds do not divide the patients. With the own model they do."""
    base = predictions()
    start = np.random.default_rng(4).normal(size=(1, PATIENTS))
    found = rows(predictions(null=start, bad=base.risk["bad"][:1]))["bad"]
    everybody = [concordance(base.time, base.event, risk).c_index for risk in (base.risk["bad"][0], start[0])]
    assert found["difference_null"] == pytest.approx(everybody[0] - everybody[1])
    folds = [
        [concordance(base.time[of], base.event[of], risk[of]) for of in (base.tested_in == fold for fold in range(5))]
        for risk in (base.risk["bad"][0], base.risk["good"][0])
    ]
    within = [sum(c.concordant for c in of) / sum(c.comparable for c in of) for of in folds]
    assert found["difference_self"] == pytest.approx(within[0] - within[1])


def test_random_models_are_compared_with_by_their_mean() -> None:
    """Their spread counts as far as it leaves the mean unsure: ten times as many models, a smaller error."""
    base = predictions()
    truth = base.risk["good"].mean(axis=0)

    def random_models(count: int) -> np.ndarray:
        noise = np.random.default_rng(3).normal(scale=0.1, size=(count, PATIENTS))
        return np.where(np.arange(count)[:, None] % 2, 1, -1) * truth + noise

    few, many = (rows(predictions(random=random_models(count)))["bad"] for count in (4, 40))
    good = rows(predictions(random=random_models(10)))["good"]
    assert good["difference_random"] == pytest.approx(rows(base)["good"]["difference_random"], abs=0.1)
    assert good["p_random"] < 0.05, "a source is held against the mean, not against one more such model"
    assert few["difference_random"] == pytest.approx(many["difference_random"], abs=0.05)
    assert few["p_random"] > many["p_random"]


@pytest.mark.parametrize(("difference", "better"), [(0.1, 0.02), (-0.1, 0.98), (0.0, 0.5)])
def test_one_sided_p_values(difference: float, better: float) -> None:
    p = 0.04 if difference else 1.0
    assert one_sided(p, difference) == pytest.approx(better)
    assert one_sided(p, -difference) == pytest.approx(1 - better)
    assert np.isnan(one_sided(float("nan"), difference))


def test_prediction_tables_are_put_side_by_side() -> None:
    def table(folds: list[int], risk: list[float], patients: list[str]) -> pd.DataFrame:
        return pd.DataFrame(
            {"patient_id": patients, "time": 1.0, "event": 1, "target_fold": 0, "source_fold": folds, "risk": risk}
        )

    found = collect_predictions("acc", {"a": table([0, 1, 0], [1, 2, 3], ["x", "x", "y"]), "b": table([0], [4], ["z"])})
    assert found.patients == ("x", "y", "z")
    np.testing.assert_array_equal(found.risk["a"], [[1, 3, np.nan], [2, np.nan, np.nan]])
    np.testing.assert_array_equal(found.risk["b"], [[np.nan, np.nan, 4]])
