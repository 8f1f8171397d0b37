"""The fold rule: no model ever scores a patient it has seen."""

import numpy as np
import pytest

from cropkt.data.patients.folds import Fold
from cropkt.data.persons import person_digest
from cropkt.transfer.protocol import fold_tested_in, may_score

PATIENTS = ("a", "b", "c", "d", "e")
FOLDS = (
    Fold(train=("c", "d"), test=("a", "b"), validation=("e",)),
    Fold(train=("a", "b"), test=("c", "d"), validation=()),
)
SEEN = [tuple(map(person_digest, (*fold.train, *fold.validation))) for fold in FOLDS]
TESTED_IN = fold_tested_in(PATIENTS, FOLDS)


def test_a_patient_no_fold_tests_is_marked() -> None:
    assert TESTED_IN.tolist() == [0, 0, 1, 1, -1]


def test_within_a_cohort_only_matched_folds_score() -> None:
    valid = may_score("acc", [0, 1], SEEN, "acc", PATIENTS, TESTED_IN)
    assert valid.tolist() == [[True, True, False, False, False], [False, False, True, True, False]]


def test_within_a_cohort_unmatched_folds_do_not_score_even_patients_they_have_not_seen() -> None:
    valid = may_score("acc", [0, 1], [(), ()], "acc", PATIENTS, TESTED_IN)
    assert valid.tolist() == [[True, True, False, False, False], [False, False, True, True, False]]


def test_across_cohorts_every_fold_model_scores_every_tested_patient() -> None:
    valid = may_score("brca", [0, 1], [("x",), ("y",)], "acc", PATIENTS, TESTED_IN)
    assert valid.tolist() == [[True, True, True, True, False]] * 2


def test_a_patient_shared_by_two_cohorts_is_not_scored_by_the_model_that_saw_it() -> None:
    seen = [tuple(map(person_digest, "xa")), tuple(map(person_digest, "y"))]
    valid = may_score("brca", [0, 1], seen, "acc", PATIENTS, TESTED_IN)
    assert valid[0].tolist() == [False, True, True, True, False]
    assert valid[1].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_no_valid_cell_ever_names_a_patient_the_model_has_seen(seed: int) -> None:
    random = np.random.default_rng(seed)
    patients = tuple(f"p{number}" for number in range(40))
    part = random.integers(0, 5, 40)
    folds = tuple(
        Fold(
            train=tuple(p for p, where in zip(patients, part, strict=True) if where not in (fold, (fold + 1) % 5)),
            test=tuple(p for p, where in zip(patients, part, strict=True) if where == fold),
            validation=tuple(p for p, where in zip(patients, part, strict=True) if where == (fold + 1) % 5),
        )
        for fold in range(5)
    )
    seen = [(*fold.train, *fold.validation) for fold in folds]
    chosen = [3, 0, 4]
    digests = [tuple(map(person_digest, seen[fold])) for fold in chosen]
    valid = may_score("acc", chosen, digests, "acc", patients, fold_tested_in(patients, folds))
    for m, fold in enumerate(chosen):
        scored = {p for p, allowed in zip(patients, valid[m], strict=True) if allowed}
        assert scored == set(folds[fold].test)
        assert not scored & set(seen[fold])


@pytest.mark.parametrize("seen", ["TCGA-OR-A5J1-01A", "tcga-or-a5j1", "TCGA-OR-A5J1-06A"])
def test_a_person_seen_under_another_id_is_not_scored(seen: str) -> None:
    patients = ("TCGA-OR-A5J1", "TCGA-OR-A5J2", "glasgow-7")
    known = (person_digest(seen), person_digest("GLASGOW-7"))
    valid = may_score("skcm", [0], [known], "acc", patients, np.array([0, 0, 1]))
    assert valid.tolist() == [[False, True, False]]
