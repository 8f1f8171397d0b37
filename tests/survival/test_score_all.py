"""C-indices over all pairs of a cohort, for models that know none of its patients."""

from itertools import product

import numpy as np
import pytest
from sksurv.metrics import concordance_index_censored

from cropkt.survival.checks.coverage import Setting, SimulatedCohort, coverage_table, simulated_cohorts
from cropkt.survival.concordance import CombinedConcordance, score_all, score_folds


def drawn(patients: int = 80, seed: int = 0) -> SimulatedCohort:
    return next(simulated_cohorts(Setting(0.8, 0.4, patients=patients), 1, seed, 0))


def of_all(cohort: SimulatedCohort, valid: np.ndarray | None = None) -> CombinedConcordance:
    valid = np.ones(cohort.risk.shape, dtype=bool) if valid is None else valid
    return score_all(cohort.time, cohort.event, cohort.risk, valid)


def test_one_model_is_harrells_c_index_of_everybody() -> None:
    cohort = drawn()
    found = score_all(cohort.time, cohort.event, cohort.risk[:1], np.ones((1, 80), dtype=bool))
    expected = concordance_index_censored(cohort.event.astype(bool), cohort.time, cohort.risk[0])
    assert found.c_index == pytest.approx(expected[0])
    assert found.comparable == sum(expected[1:4])


def test_several_models_are_counted_together_pair_by_pair() -> None:
    cohort = drawn(30)
    valid = np.random.default_rng(1).random(cohort.risk.shape) < 0.8
    concordant = comparable = 0.0
    distinct, events = set(), set()
    for model, i, j in product(range(len(cohort.risk)), range(30), range(30)):
        first = cohort.event[i] and cohort.time[i] < cohort.time[j]
        if first and valid[model, i] and valid[model, j]:
            comparable += 1
            concordant += cohort.risk[model, i] > cohort.risk[model, j]
            distinct.add((i, j))
            events.add(i)
    found = of_all(cohort, valid)
    assert found.c_index == pytest.approx(concordant / comparable)
    assert found.comparable == len(distinct)
    assert found.events == len(events)


def test_folds_do_not_divide_the_patients_and_the_error_is_smaller() -> None:
    errors = []
    for cohort in simulated_cohorts(Setting(0.5, 0.2), 60, 2, 0):
        within, everybody = cohort.scores().pooled, of_all(cohort)
        assert everybody.comparable > 3 * within.comparable
        errors.append((within.standard_error, everybody.standard_error))
    assert np.divide(*np.mean(errors, axis=0)) > 1.1


def test_the_fold_of_a_patient_does_not_matter() -> None:
    cohort = drawn()
    one_fold = score_folds(
        cohort.time, cohort.event, cohort.risk, np.zeros(80, dtype=int), np.ones((5, 80), dtype=bool)
    )
    assert of_all(cohort).influence == pytest.approx(one_fold.pooled.influence)


def test_the_error_of_five_models_that_agree_in_part_is_that_of_drawing_patients_again() -> None:
    cohort = drawn(200, 3)
    found = of_all(cohort).standard_error
    draws = np.random.default_rng(4).integers(0, 200, (300, 200))
    valid = np.ones((5, 200), dtype=bool)
    again = [score_all(cohort.time[d], cohort.event[d], cohort.risk[:, d], valid).c_index for d in draws]
    assert found == pytest.approx(np.std(again), rel=0.12)
    alone = [score_all(cohort.time, cohort.event, cohort.risk[[m]], valid[:1]).standard_error for m in range(5)]
    assert found > 1.3 * np.mean(alone) / np.sqrt(5), "models that score the same patients are not independent"


@pytest.mark.slow
def test_its_intervals_cover() -> None:
    found = coverage_table(500, 5, (Setting(0.5, 0.2),)).iloc[0]
    assert 0.925 <= found["coverage_all"] <= 0.98
    assert found["error_all_over_pooled"] < 0.9
