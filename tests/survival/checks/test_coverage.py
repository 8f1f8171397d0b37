"""The coverage study in small, and that it would notice errors that are too small."""

import re
from pathlib import Path

import numpy as np
import pytest

from cropkt.survival.checks import coverage
from cropkt.survival.checks.coverage import (
    FEW_OF_MANY,
    SETTINGS,
    Setting,
    coverage_table,
    error_table,
    true_c_index,
)
from cropkt.survival.checks.interval_rules import SHAPES, rule_table

SMALL = (Setting(0.5, 0.3),)


def test_intervals_cover_and_a_halved_error_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = coverage_table(300, 1, SMALL).iloc[0]
    assert 0.91 <= honest["coverage_pooled"] <= 0.98
    assert 0.91 <= honest["coverage_mean"] <= 0.98
    assert honest["size_of_paired_test"] <= 0.08
    whole = coverage.confidence_interval
    monkeypatch.setattr(coverage, "confidence_interval", lambda c, error, events: whole(c, error / 2, events))
    assert coverage_table(100, 1, SMALL).iloc[0]["coverage_pooled"] < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("setting", FEW_OF_MANY[:2], ids=lambda setting: f"{setting.patients} patients")
def test_intervals_cover_with_few_events_among_many_patients(setting: Setting) -> None:
    """Bars that 2 (events - 1) degrees of freedom and the error as it is, right at 60 patients, do not reach here."""
    found = coverage_table(700, 2, (setting,)).iloc[0]
    assert found["coverage_pooled"] >= 0.935
    assert found["coverage_all"] >= 0.925
    assert found["below_1_percent"] <= 0.025


def test_the_page_gives_the_size_of_the_paired_test_and_says_for_which_models() -> None:
    """The first number of its column in docs/significance.md, measured again: four standard errors are allowed."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "significance.md").read_text()
    _, table, last = page[page.index("check_significance.py coverage` simulates") :].split("\n\n")[:3]
    rows = [[float(cell) for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d.*", table, re.M)]
    found = coverage_table(300, 3, SETTINGS[:1]).iloc[0]
    (size,) = (row[-1] for row in rows if row[0] == 60 and row[2] == 0.5 and abs(row[1] - found["events"]) < 1)
    assert abs(found["size_of_paired_test"] - size) < 4 * np.sqrt(size / 300)
    assert "for two fixed models" in last.replace("\n", " ")
    assert "larger without `--repeats`" in last.replace("\n", " ")


def test_shapes_of_real_cohorts_are_simulated_as_they_are() -> None:
    for shape in SHAPES:
        cohorts = list(coverage.simulated_cohorts(shape.setting(0.0), 30, 0, 0))
        events = np.mean([cohort.event.sum() for cohort in cohorts])
        assert events == pytest.approx(shape.events, abs=4 * np.sqrt(shape.events / 30))
        at_risk = [np.mean(cohort.time > time) for cohort in cohorts for time in cohort.time[cohort.event == 1]]
        assert np.mean(at_risk) == pytest.approx(shape.at_risk, abs=0.15)


@pytest.mark.slow
def test_the_rule_in_use_is_the_one_that_the_comparison_of_rules_chose() -> None:
    """At one shape of few events the rules differ, and `confidence_interval` covers as the last of them does."""
    shape = next(shape for shape in SHAPES if shape.cohort == "prad")
    table = rule_table(300, 3, [shape], [0.0]).set_index(["question", "rule"])["coverage"]
    within = table.loc["within folds"]
    assert within["2 (e - 1)"] < within["e - 1"] <= within["e - 1, widened"] <= within.iloc[-1]
    setting = coverage.replace(shape.setting(0.0), beta=0.0)
    cohorts = coverage.simulated_cohorts(setting, 300, 3, 0)
    covered = [coverage._covers(cohort.scores().pooled, 0.5) for cohort in cohorts]
    assert np.nanmean(covered) == pytest.approx(within.iloc[-1])


@pytest.mark.slow
def test_the_error_is_that_of_the_bootstrap_and_of_permutations() -> None:
    row = error_table(12, 0, (Setting(0.0, 0.5),)).iloc[0]
    assert row["over_bootstrap"] == pytest.approx(1, abs=0.15)
    assert row["over_permutation"] == pytest.approx(1, abs=0.15)


def test_the_truth_does_not_depend_on_the_sample_of_it() -> None:
    setting = Setting(0.8, 0.3)
    assert true_c_index(setting, 1) == pytest.approx(true_c_index(setting, 2), abs=0.005)
    assert np.isclose(true_c_index(Setting(0.0, 0.3), 1), 0.5)
