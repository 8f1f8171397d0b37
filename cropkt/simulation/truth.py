"""What a simulated study should show: every pair's true C-index, and every patient's true risk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from cropkt.seeds import generator
from cropkt.simulation.config import PROTOTYPES
from cropkt.simulation.population import GROUPS, REVERSED, CohortModel, Patients

TRUTH = "truth_patients.parquet"
"""Where a simulated study keeps every patient's true risk."""
FRESH_PATIENTS = 10_000
SHIFTS = 20


def true_c_index(score: np.ndarray, log_risk: np.ndarray) -> float:
    """C-index of `score` (N,) for patients with `log_risk` (N,) under proportional hazards, without censoring.

    The chance that i dies before j is expit(log_risk_i - log_risk_j), so no times are drawn: the mean over pairs
    (i, i + k), k = 1 .. 20, of the chance that the one with the higher score dies first; ties count one half.
    """
    total = 0.0
    for shift in range(1, SHIFTS + 1):
        first = expit(log_risk - np.roll(log_risk, shift))
        higher = np.sign(score - np.roll(score, shift))
        total += float(np.mean(0.5 + higher * (first - 0.5)))
    return total / SHIFTS


def pair_truth(cohorts: Mapping[str, CohortModel], seed: int) -> pd.DataFrame:
    """One row a pair; columns as docs/simulation.md lists them."""
    rows = []
    for target, population in cohorts.items():
        fresh = population.draw(FRESH_PATIENTS, generator(seed, "simulation", "fresh patients", target))
        own = population.score(fresh)
        for source, model in cohorts.items():
            score = own if source == target else model.score_others(fresh)
            # Survival that does not depend on the slides leaves every score at exactly one half.
            informed = population.transfer != "none"
            rows.append(
                {
                    "source": source,
                    "target": target,
                    "c_index_true": true_c_index(score, fresh.log_risk) if informed else 0.5,
                    "same_group": same_group(source, target),
                    "distance": float(np.linalg.norm(model.shift - population.shift)),
                    "true_weight_correlation": float(np.corrcoef(score, own)[0, 1]),
                    "reversed": (source == REVERSED) != (target == REVERSED),
                }
            )
    return pd.DataFrame(rows)


def same_group(source: str, target: str) -> bool:
    """Do two cohorts share a group? A cohort is in a group with itself."""
    return source == target or any(source in members and target in members for members in GROUPS.values())


def patient_truth(patients: Mapping[str, tuple[list[str], Patients]]) -> pd.DataFrame:
    """One row per patient: cohort, patient_id, log_risk, the fraction of each prototype and the traits, if any."""
    tables = []
    for code, (names, drawn) in patients.items():
        columns = {f"fraction_{name}": drawn.fractions[:, k] for k, name in enumerate((*PROTOTYPES, "organ"))}
        if drawn.traits is not None:
            columns |= {f"trait_{number + 1}": drawn.traits[:, number] for number in range(drawn.traits.shape[1])}
        tables.append(pd.DataFrame({"cohort": code, "patient_id": names, "log_risk": drawn.log_risk, **columns}))
    return pd.concat(tables, ignore_index=True)


def true_log_risk(folder: Path, code: str, patients: Sequence[str]) -> np.ndarray | None:
    """(N,) true log-risk of a simulated study's patients; None for other studies."""
    if not (folder / TRUTH).is_file():
        return None
    truth = pd.read_parquet(folder / TRUTH, columns=["cohort", "patient_id", "log_risk"])
    of_cohort = truth[truth["cohort"] == code].set_index("patient_id")["log_risk"]
    return of_cohort.loc[list(patients)].to_numpy(dtype=np.float64)
