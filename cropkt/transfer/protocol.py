"""Who may score whom: the fold protocol, and the rule that no model ever scores a patient it was trained on."""

from collections.abc import Sequence

import numpy as np

from cropkt.data.patients.folds import Fold
from cropkt.data.persons import person_digest
from cropkt.transfer.baselines import BASELINES


def mode_of(source: str, target: str) -> str:
    """What kind of row this is: "self", "transfer", or the baseline's own name."""
    if source in BASELINES:
        return source
    return "self" if source == target else "transfer"


def fold_tested_in(patients: Sequence[str], splits: Sequence[Fold]) -> np.ndarray:
    """(B,) int64: the fold that tests each patient, -1 for a patient no fold tests."""
    where = {patient: number for number, fold in enumerate(splits) for patient in fold.test}
    return np.array([where.get(patient, -1) for patient in patients], dtype=np.int64)


def may_score(
    source: str,
    source_folds: Sequence[int],
    seen: Sequence[Sequence[str]],
    target: str,
    patients: Sequence[str],
    tested_in: np.ndarray,
) -> np.ndarray:
    """(M, B) bool: may the model of source fold m score patient b of the target?

    `source_folds[m]` is the fold of model m; `seen[m]` are digests (persons.person_digest) of the patients it has seen,
    training and validation; `tested_in` (B,) is the target fold that tests each patient. Across cohorts every fold
    model scores every tested patient. Within a cohort only the model of the same fold may: any other one has been
    trained on the patient. A patient a model has seen under another cohort's name, or another of the person's ids, is
    left out as well.
    """
    persons = np.array([person_digest(patient) for patient in patients])
    valid = np.repeat(tested_in[None, :] >= 0, len(source_folds), axis=0)
    for m, fold in enumerate(source_folds):
        if source == target:
            valid[m] &= tested_in == fold
        valid[m] &= ~np.isin(persons, np.array(list(seen[m]), dtype=str))
    return valid
