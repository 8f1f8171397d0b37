"""Cross-validation on a target: every patient's risk from models that saw neither its features nor its outcome.

Only a fold's training patients enter the target's centroid and its likelihood; the axes, the summaries and the prior
come from other cohorts. Shapes: M folds, B patients of the target. Risks (M, B) are NaN where a fold does not test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cropkt.borrowing.fit import PRIOR_PROBABILITY, fit_target
from cropkt.borrowing.lenders import CohortPatients, Lenders
from cropkt.seeds import named_seed
from cropkt.survival.cox import ridge_cox

Split = tuple[np.ndarray, np.ndarray]
"""Indices of a fold's training and of its test patients."""


@dataclass(frozen=True)
class BorrowedRisks:
    """(M, B) log-risks of a target's test patients, higher is worse, under each answer of `TargetFit`.

    probability: (M,) that borrowing helps, as each fold's training patients see it.
    """

    averaged: np.ndarray
    borrowed: np.ndarray
    alone: np.ndarray
    prior: np.ndarray
    probability: np.ndarray


def borrowed_risks(
    lenders: Lenders,
    held: CohortPatients,
    splits: Sequence[Split],
    *,
    prior_probability: float = PRIOR_PROBABILITY,
) -> BorrowedRisks:
    """Risks of the cohort `held` over its `splits`, borrowed from `lenders`, which must not hold it.

    A fold without a training patient has NaN; one without a training event has the prior's risk under every answer
    but `alone`, where all risks are 0.
    """
    shape = (len(splits), len(held.time))
    risks = {name: np.full(shape, np.nan) for name in ("averaged", "borrowed", "alone", "prior")}
    probability = np.full(len(splits), np.nan)
    for fold, split in enumerate(splits):
        train, test = _apart(split)
        if not len(train):
            continue
        chosen = _chosen(held, train)
        fit = fit_target(
            lenders.model,
            lenders.axes,
            chosen.features,
            chosen.time,
            chosen.event,
            prior_probability=prior_probability,
        )
        for name, risk in risks.items():
            risk[fold, test] = held.features[test] @ getattr(fit, name)
        probability[fold] = fit.probability
    return BorrowedRisks(**risks, probability=probability)


def ridge_risks(held: CohortPatients, splits: Sequence[Split], *, seed: int) -> np.ndarray:
    """(M, B) log-risks of the target's own ridge Cox model, the rival; NaN for a fold without a training event."""
    risk = np.full((len(splits), len(held.time)), np.nan)
    for fold, split in enumerate(splits):
        train, test = _apart(split)
        training = _chosen(held, train)
        if np.any(training.event):
            inner = named_seed(seed, "own ridge cox", held.cohort, fold)
            model = ridge_cox(training.features, training.time, training.event, seed=inner)
            risk[fold, test] = model.risk(held.features[test])
    return risk


def _apart(split: Split) -> Split:
    """Training patients that the fold does not test, whatever the split file says, and its test patients."""
    train, test = (np.asarray(part, dtype=np.int64) for part in split)
    return train[~np.isin(train, test)], test


def _chosen(held: CohortPatients, patients: np.ndarray) -> CohortPatients:
    return CohortPatients(held.cohort, held.features[patients], held.time[patients], held.event[patients])
