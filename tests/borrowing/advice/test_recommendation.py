"""Weights, expectations and advice, on cohorts whose truth is planted; and a library that travels."""

from pathlib import Path

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort, made_up_lenders

from cropkt.borrowing.advice.helps import probability_of_gain
from cropkt.borrowing.advice.recommendation import Expectation, advice, expect, lender_weights
from cropkt.borrowing.fit import PRIOR_PROBABILITY, fit_target
from cropkt.borrowing.lenders import CohortPatients, gather_lenders
from cropkt.borrowing.library import Library
from cropkt.errors import InputError

KNOWN = Expectation(0.7, 0.6, 0.8, 12)


def test_weights_add_up_to_one_and_follow_the_evidence() -> None:
    """Five cohorts of 200 patients tell more than five of 20."""
    large = [made_up_cohort(f"large {number}", patients=200) for number in range(5)]
    small = [made_up_cohort(f"small {number}", patients=20) for number in range(5)]
    rows = lender_weights(gather_lenders([*large, *small], axes=4), made_up_cohort("target").features)
    assert sum(row.weight for row in rows) == pytest.approx(1)
    by_size = {size: sum(row.weight for row in rows if row.cohort.startswith(size)) for size in ("large", "small")}
    assert by_size["large"] > 3 * by_size["small"]
    assert all(row.lower <= row.upper for row in rows)
    wide = {row.cohort: row.upper - row.lower for row in rows}
    assert min(wide[f"large {n}"] for n in range(5)) > 0


def test_a_cohort_that_runs_the_other_way_is_named_and_lends_nothing() -> None:
    cohorts = [*made_up_lenders(8), made_up_cohort("reversed", patients=150, sign=-1.0)]
    rows = lender_weights(gather_lenders(cohorts, axes=4), made_up_cohort("target").features)
    (against,) = [row for row in rows if not row.lends]
    assert against.cohort == "reversed"
    assert np.isnan(against.weight)
    assert against.sharing < 0.5


def test_an_expectation_scatters_as_the_cohorts_do() -> None:
    random = np.random.default_rng(2)
    alike = expect(0.7 + 0.05 * random.normal(size=200), [0.05] * 200)
    apart = expect(0.7 + np.hypot(0.05, 0.1) * random.normal(size=200), [0.05] * 200)
    assert alike.c_index == pytest.approx(0.7, abs=0.02)
    assert alike.upper - alike.lower < 0.1
    assert apart.upper - apart.lower == pytest.approx(2 * 1.96 * 0.1, rel=0.15)


def test_the_targets_own_c_index_counts_by_its_precision() -> None:
    values, errors = [0.55, 0.65, 0.75, 0.6, 0.7], [0.03] * 5
    sure = expect(values, errors, own=0.9, own_error=0.001)
    unsure = expect(values, errors, own=0.9, own_error=1.0)
    assert sure.c_index == pytest.approx(0.9, abs=0.001)
    assert unsure.c_index == pytest.approx(expect(values, errors).c_index, abs=0.01)
    assert np.isnan(expect([0.7], [0.1]).c_index)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "Borrow."),
        ({"lending": 3}, "Only 3 cohorts"),
        ({"probability": 0.2}, "Do not borrow"),
        ({"probability": 0.5}, "It hardly matters"),
        ({"events": 90, "needed": 40.0}, "enough to do without"),
        ({"expected": Expectation(0.6, 0.45, 0.75, 9)}, "with care"),
        ({"probability": np.nan, "needed": np.nan, "events": 0}, "Borrow."),
    ],
)
def test_advice_says_no_where_it_should(settings: dict, word: str) -> None:
    asked = {"probability": 0.8, "lending": 20, "events": 10, "needed": 40.0, "expected": KNOWN}
    assert word in advice(**{**asked, **settings})


def test_without_a_signal_a_gain_is_a_coins_throw_and_disagreement_scales_it() -> None:
    assert probability_of_gain(0.95, 0.0) == 0.5
    told = [probability_of_gain(0.95, signal) for signal in (0.0, 0.1, 0.4, 1.2)]
    assert told == sorted(told)
    assert told[-1] > 0.9
    assert probability_of_gain(PRIOR_PROBABILITY / 3, 0.4) == pytest.approx(
        probability_of_gain(PRIOR_PROBABILITY, 0.4) / 3
    )


def test_joining_a_library_with_a_summary_is_as_good_as_joining_with_patients(tmp_path: Path) -> None:
    """The founder's axes; a hospital's summary on them; and the pooled result, up to float32 of the files."""
    cohorts, mine = made_up_lenders(6), made_up_cohort("mine", patients=120)
    library, hospital = Library(tmp_path / "library"), Library(tmp_path / "hospital")
    library.found(cohorts)
    for cohort in cohorts:
        library.add(cohort)
    hospital.axes_path.parent.mkdir()
    hospital.axes_path.write_bytes(library.axes_path.read_bytes())
    hospital.add(mine)
    library.summary_path("mine").write_bytes(hospital.summary_path("mine").read_bytes())
    target = made_up_cohort("target", patients=30)
    joined = library.lenders()
    pooled = Library(tmp_path / "pooled")
    pooled.found(cohorts)
    for cohort in [*cohorts, mine]:
        pooled.add(cohort)
    answers = [
        fit_target(one.model, one.axes, target.features, target.time, target.event).averaged
        for one in (joined, pooled.lenders())
    ]
    np.testing.assert_array_equal(*answers)
    direct = gather_lenders(cohorts)
    own = fit_target(library.lenders(without="mine").model, joined.axes, target.features, target.time, target.event)
    same = fit_target(direct.model, direct.axes, target.features, target.time, target.event)
    spread = np.std(target.features @ same.averaged)
    assert np.std(target.features @ (own.averaged - same.averaged)) < 0.05 * spread


def test_a_library_refuses_other_features_and_an_empty_folder(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    with pytest.raises(InputError, match="export"):
        library.summaries()
    library.found(made_up_lenders(4))
    narrow = made_up_cohort("narrow", width=7)
    with pytest.raises(InputError, match="7 features"):
        library.add(CohortPatients("narrow", narrow.features, narrow.time, narrow.event))
