"""Paired comparisons and the crossing point, on tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from cropkt.rivals.comparison import BEST_OWN, by_target, crossing, differences, method_means, sizes_in_order
from cropkt.rivals.draws import draw, splits_of


def table(gain_at: dict[str, float], *, targets: int = 12, draws: int = 3) -> pd.DataFrame:
    """Own models have .6 plus noise that a draw's methods share; borrowing has the gain of the size more."""
    random = np.random.default_rng(1)
    rows = []
    for size, gain in gain_at.items():
        for target in range(targets):
            for number in range(draws):
                shared = 0.6 + 0.1 * random.normal()
                common = {"study": "s", "target": f"t{target}", "patients": size, "draw": number}
                common["train_events"] = int(size) / 4
                for method, value in (("borrowed", shared + gain), ("own_ridge", shared), ("own_alone", shared - 0.05)):
                    rows.append({**common, "method": method, "c_index": value})
    return pd.DataFrame(rows)


def test_noise_that_methods_share_cancels() -> None:
    found = differences(table({"20": 0.04}), ["own_ridge", "own_alone"]).set_index("against")
    np.testing.assert_allclose(found.loc["own_ridge", ["mean", "lower", "upper"]].astype(float), 0.04, atol=1e-9)
    assert found.loc["own_alone", "mean"] == pytest.approx(0.09)
    assert found.loc[BEST_OWN, "mean"] == pytest.approx(0.04)
    assert found.loc["own_ridge", "targets"] == 12


def test_the_interval_is_students_over_targets_not_over_draws() -> None:
    curve = table({"20": 0.0})
    wide = by_target(curve)["own_ridge"]
    row = method_means(curve).set_index("method").loc["own_ridge"]
    assert row["mean"] == pytest.approx(wide.mean())
    error = wide.std(ddof=1) / np.sqrt(12)
    assert row["upper"] - row["mean"] == pytest.approx(2.200985 * error, rel=1e-5)


def test_a_draw_without_every_method_is_left_out() -> None:
    curve = table({"20": 0.04})
    curve = curve[~((curve["method"] == "own_alone") & (curve["target"] == "t0"))]
    assert len(by_target(curve)) == 11


def test_the_crossing_is_where_the_gain_is_gone() -> None:
    """The gain falls by .02 per doubling: 20 patients are 5 events, and 0 is met at 20."""
    found = crossing(table({"20": 0.04, "40": 0.02, "160": -0.02}), "own_ridge")
    assert found.events == pytest.approx(20, rel=1e-6)
    assert found.slope == pytest.approx(-0.02)
    assert (found.fewest, found.most) == (5, 40)
    assert "Below about 20 training events" in found.sentence()


def test_a_gain_that_grows_does_not_cross() -> None:
    found = crossing(table({"20": 0.02, "40": 0.04}), "own_ridge")
    assert np.isnan(found.events)
    assert "no crossing" in found.sentence()


def test_draws_are_nested_and_leave_somebody_to_test() -> None:
    small, large = (draw(60, size, seed=1, code="acc", number=0) for size in (20, 40))
    assert small is not None
    assert large is not None
    assert set(small[0]) < set(large[0])
    assert sorted([*large[0], *large[1]]) == list(range(60))
    assert draw(45, 40, seed=1, code="acc", number=0) is None
    other = draw(60, 20, seed=1, code="acc", number=1)
    assert other is not None
    assert set(other[0]) != set(small[0])


def test_all_means_the_studys_folds_and_a_tested_patient_never_trains() -> None:
    folds = [(np.array([0, 1, 2]), np.array([2, 3])), (np.array([], dtype=int), np.array([0]))]
    (only,) = splits_of("all", folds, 4, seed=0, code="acc", number=0)
    assert only[0].tolist() == [0, 1]
    assert sizes_in_order(["all", "40", "160", "20"]) == ["20", "40", "160", "all"]
