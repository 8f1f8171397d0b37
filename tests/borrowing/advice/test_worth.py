"""True worth on the simulated populations: borrowing beats what a rare target can do alone, and SARC is not harmed."""

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort

from cropkt.borrowing.advice.worth import WorthRow, expected_concordance, true_worth
from cropkt.borrowing.axes import Moments
from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders
from cropkt.seeds import generator
from cropkt.simulation.config import SIZES, SimulationConfig
from cropkt.simulation.population import build_cohorts, censoring_times, event_times

TARGETS = ("uvm", "acc", "dlbc", "pcpg", "tgct", "thym", "sarc")


def test_expected_concordance_of_known_cases() -> None:
    log_risk = np.log([1.0, 3.0])
    for risk, expected in (([0, 1], 0.75), ([1, 0], 0.25), ([1, 1], 0.5)):
        assert expected_concordance(np.array([risk], dtype=float), log_risk) == pytest.approx(expected)
    apart = np.array([[0.0, np.nan], [np.nan, 1.0]])
    assert np.isnan(expected_concordance(apart, log_risk))


def test_expected_concordance_is_the_c_index_of_many_uncensored_draws() -> None:
    random = np.random.default_rng(0)
    log_risk, risk = random.normal(size=12), random.normal(size=12)
    times = random.exponential(np.exp(-log_risk), size=(4000, 12))
    first, second = np.triu_indices(12, 1)
    concordant = (times[:, first] < times[:, second]) == (risk[first] > risk[second])
    assert expected_concordance(risk[None], log_risk) == pytest.approx(concordant.mean(), abs=0.01)


@pytest.fixture(scope="module")
def worth() -> dict[tuple[str, str], WorthRow]:
    """26 simulated cohorts, mean features drawn without slides: fractions of prototypes, the shift and some noise."""
    config = SimulationConfig(seed=501, dim=32)
    cohorts, folds, log_risk = {}, {}, {}
    for code, model in build_cohorts(config).items():
        random = generator(501, "test of worth", code)
        count = config.patients_of(code)
        drawn = model.draw(count, random)
        noise = 0.3 * random.normal(size=(count, config.dim))
        died, leaves = event_times(drawn.log_risk, model.scale, random), censoring_times(SIZES[code], count, random)
        features = drawn.fractions @ model.prototypes + model.shift + noise
        cohorts[code] = CohortPatients(code, features, np.floor(np.minimum(died, leaves)), died <= leaves)
        tested = np.arange(count) % 5
        folds[code] = [(np.flatnonzero(tested != fold), np.flatnonzero(tested == fold)) for fold in range(5)]
        log_risk[code] = drawn.log_risk
    rows = true_worth(cohorts, folds, log_risk, TARGETS)
    return {(row.target, row.method): row for row in rows}


def test_a_target_has_no_part_in_what_the_others_lend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its outcomes in the prior, nor its patients in the axes."""
    cohorts = {name: made_up_cohort(name, patients=30) for name in "abcd"}
    tested = np.arange(30) % 2
    folds = {"b": [(np.flatnonzero(tested != fold), np.flatnonzero(tested == fold)) for fold in range(2)]}
    lent: list[tuple[set[str], set[str]]] = []

    def watched(others: list[CohortPatients], *, axes: int, moments: list[Moments]) -> Lenders:
        lent.append(({other.cohort for other in others}, {of.cohort for of in moments}))
        return gather_lenders(others, axes=axes, moments=moments)

    monkeypatch.setattr("cropkt.borrowing.advice.worth.gather_lenders", watched)
    true_worth(cohorts, folds, {"b": np.arange(30.0)}, ["b"], axes=4)
    assert lent == [({"a", "c", "d"}, {"a", "c", "d"})]


def mean_of(worth: dict[tuple[str, str], WorthRow], method: str) -> float:
    return float(np.mean([worth[target, method].c_index_true for target in TARGETS if target != "sarc"]))


def test_borrowing_is_worth_it_for_rare_targets_and_below_the_truth(worth: dict[tuple[str, str], WorthRow]) -> None:
    assert len(worth) == len(TARGETS) * 6
    assert mean_of(worth, "averaged") > max(mean_of(worth, "ridge"), mean_of(worth, "alone")) + 0.01
    assert mean_of(worth, "averaged") < mean_of(worth, "truth") < 0.85


def test_the_reversed_cohort_is_told_not_to_borrow_and_keeps_its_own(worth: dict[tuple[str, str], WorthRow]) -> None:
    own = max(worth["sarc", "ridge"].c_index_true, worth["sarc", "alone"].c_index_true)
    assert worth["sarc", "averaged"].probability < 0.1
    assert worth["sarc", "averaged"].c_index_true > own - 0.02
    assert worth["sarc", "prior"].c_index_true < 0.5
