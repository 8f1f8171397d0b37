"""Days to intervals: closed on the left, nobody outside, on real follow-up times too."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cropkt.cohorts import COHORTS
from cropkt.survival.discrete.intervals import interval_of, quantile_edges, uniform_edges


def intervals(time: list[float], event: list[int] | None = None, **settings: object) -> list[int]:
    edges = uniform_edges(time, event if event is not None else [1] * len(time), **settings)
    return interval_of(time, edges).tolist()


def test_years_begin_at_365_days() -> None:
    assert intervals([0, 0.5, 364, 364.999, 365, 729, 730, 11315]) == [0, 0, 0, 0, 1, 1, 2, 31]


@pytest.mark.parametrize("longest", [11679, 11680, 11681, 20000])
def test_follow_up_past_the_last_year_is_in_the_last_interval(longest: float) -> None:
    assert intervals([11314, 11315, longest]) == [30, 31, 31]


def test_the_last_edge_covers_the_censored_too() -> None:
    edges = uniform_edges([100, 900, 5000], [1, 1, 0], intervals=3, longest=None)
    assert edges.tolist() == [0, 300, 600, 5000 + 1e-5]
    assert interval_of([100, 900, 5000], edges).tolist() == [0, 2, 2]


def test_quantile_intervals_hold_equally_many_events() -> None:
    time = np.arange(1.0, 101.0)
    edges = quantile_edges(time, np.ones(100), intervals=4)
    assert np.bincount(interval_of(time, edges)).tolist() == [25, 25, 25, 25]
    assert edges[0] == 0
    assert edges[-1] == 100 + 1e-5


@pytest.mark.parametrize("wrong", [-1.0, np.nan, 11681.0])
def test_a_time_outside_is_refused(wrong: float) -> None:
    edges = uniform_edges([10.0], [1])
    with pytest.raises(ValueError, match="outside the intervals"):
        interval_of([5.0, wrong], edges)


def test_intervals_up_to_the_last_event_need_an_event() -> None:
    with pytest.raises(ValueError, match="no event"):
        uniform_edges([1.0, 2.0], [0, 0], longest=None)
    with pytest.raises(ValueError, match="no event"):
        quantile_edges([1.0, 2.0], [0, 0], intervals=2)


def test_real_follow_up_falls_into_its_year(real_data: Path) -> None:
    counts = pd.read_csv(real_data / "labels" / "counts.csv").set_index("cohort")
    latest = 0
    for code in COHORTS:
        patients = pd.read_csv(real_data / "labels" / f"{code}_survival.csv").drop_duplicates("patient_id")
        assert (len(patients), patients["e"].sum()) == tuple(counts.loc[code, ["patients", "events"]])
        found = interval_of(patients["t"], uniform_edges(patients["t"], patients["e"]))
        assert found.tolist() == np.minimum(patients["t"] // 365, 31).tolist(), code
        assert (found == 0).sum() >= counts.loc[code, "t_zero"]
        latest = max(latest, found.max())
    assert 20 < latest <= 31
