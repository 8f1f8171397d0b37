"""Cohorts with planted coefficients: the risk of a patient is linear in a few directions of its features."""

from functools import cache

import numpy as np

from cropkt.borrowing.lenders import CohortPatients
from cropkt.seeds import generator

DIRECTIONS = 4


@cache
def directions_of_world(seed: int, width: int) -> np.ndarray:
    """(DIRECTIONS, width), the same for all cohorts."""
    return np.linalg.qr(generator(seed, "made-up world").normal(size=(width, width)))[0][:DIRECTIONS]


def made_up_cohort(
    name: str, *, patients: int = 80, width: int = 12, sign: float = 1.0, signal: float = 1.5, seed: int = 0
) -> CohortPatients:
    """The first direction drives survival, with `sign`; cohorts lie in different places of feature space."""
    random = generator(seed, "made-up cohort", name)
    directions = directions_of_world(seed, width)
    scores = random.normal(size=(patients, DIRECTIONS)) * [2.0, 1.5, 1.2, 1.0]
    place = random.normal(size=width)
    features = scores @ directions + 0.3 * random.normal(size=(patients, width)) + place
    log_risk = sign * signal * scores[:, 0] / 2
    died = 500 * random.exponential(size=patients) * np.exp(-log_risk)
    leaves = 600 * random.exponential(size=patients)
    return CohortPatients(name, features, np.ceil(np.minimum(died, leaves)), (died <= leaves).astype(np.int64))


def made_up_lenders(count: int = 8, **settings: float) -> list[CohortPatients]:
    return [made_up_cohort(f"lender {number}", **settings) for number in range(count)]
