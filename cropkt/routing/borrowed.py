"""Borrowed coefficients beside routers: the same test patients, the same folds (docs/borrowing.md)."""

from collections.abc import Sequence

import numpy as np

from cropkt.borrowing.folds import Split, borrowed_risks, ridge_risks
from cropkt.borrowing.lenders import CohortPatients, Lenders

BORROWED = {
    "borrowed": "borrowed coefficients, averaged with the own ones",
    "borrowed_prior": "borrowed coefficients alone, no outcome of the target",
    "borrowed_vectors": "borrowed coefficients on the vectors of the other cohorts' models",
    "own_ridge": "own ridge Cox model of mean features",
    "own_alone": "own Cox model, shrinkage learnt on other cohorts",
}
"""What these methods are called in tables that people read; the first rows of them."""


def borrowed_methods(
    lenders: Lenders, held: CohortPatients, patients: Sequence[str], splits: Sequence[Split], *, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """By method, (M,) risks over folds of each patient by name, NaN where a fold does not test it.

    `patients` are the names of those of `held`, `splits` indices into them.
    """
    found = borrowed_risks(lenders, held, splits)
    risks = {
        "borrowed": found.averaged,
        "borrowed_prior": found.prior,
        "own_ridge": ridge_risks(held, splits, seed=seed),
        "own_alone": found.alone,
    }
    return {name: dict(zip(patients, risk.T, strict=True)) for name, risk in risks.items()}


def borrowed_on_vectors(
    lenders: Lenders, held: CohortPatients, patients: Sequence[str], splits: Sequence[Split]
) -> dict[str, dict[str, np.ndarray]]:
    """As `borrowed_methods`, of patients whose features are vectors by other cohorts' models, and lenders likewise."""
    found = borrowed_risks(lenders, held, splits)
    return {"borrowed_vectors": dict(zip(patients, found.averaged.T, strict=True))}


def in_order(risks: dict[str, np.ndarray], patients: Sequence[str]) -> np.ndarray:
    """(M, B) risks of `patients`; NaN for those that have none."""
    folds = len(next(iter(risks.values())))
    missing = np.full(folds, np.nan)
    return np.stack([risks.get(patient, missing) for patient in patients], axis=1)
