"""The coverage study in small, and that it would notice errors that are too small."""

import numpy as np
import pytest

from cropkt.survival import coverage
from cropkt.survival.coverage import Setting, coverage_table, error_table, true_c_index

SMALL = (Setting(0.5, 0.3),)


def test_intervals_cover_and_a_halved_error_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = coverage_table(300, 1, SMALL).iloc[0]
    assert 0.91 <= honest["coverage_pooled"] <= 0.98
    assert 0.91 <= honest["coverage_mean"] <= 0.98
    assert honest["size_of_paired_test"] <= 0.08
    whole = coverage.confidence_interval
    monkeypatch.setattr(coverage, "confidence_interval", lambda c, error, events: whole(c, error / 2, events))
    assert coverage_table(300, 1, SMALL).iloc[0]["coverage_pooled"] < 0.8


def test_the_error_is_that_of_the_bootstrap_and_of_permutations() -> None:
    row = error_table(12, 0, (Setting(0.0, 0.5),)).iloc[0]
    assert row["over_bootstrap"] == pytest.approx(1, abs=0.15)
    assert row["over_permutation"] == pytest.approx(1, abs=0.15)


def test_the_truth_does_not_depend_on_the_sample_of_it() -> None:
    setting = Setting(0.8, 0.3)
    assert true_c_index(setting, 1) == pytest.approx(true_c_index(setting, 2), abs=0.005)
    assert np.isclose(true_c_index(Setting(0.0, 0.3), 1), 0.5)
