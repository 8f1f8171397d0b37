"""Transfer matrices with known truth, made in milliseconds: no slides and no training, but real C-indices of patients.

Cohorts lie in a plane, some of them in groups that share a place. A patient is a vector of tissue fractions, a source a
weighting of them, a target's log-risk its own weighting: weightings and distances come from the places, or do not. All
sources score the same patients of a target, so errors are shared as in a real matrix.
"""

from dataclasses import dataclass

import numpy as np

from cropkt.seeds import generator

TISSUES = 7
GROUPS = 6


@dataclass(frozen=True)
class MatrixDesign:
    """What is planted. cohorts: C. group, distance: how far a source's weighting is its group's, and follows its place.

    source, target: standard deviation of how well a source learnt its weighting, and of how far a target's survival can
    be told at all, as shares. transfer: False for survival that nothing in the fractions tells.
    alike: do sources in one place weigh alike even then?
    """

    cohorts: int = 26
    group: float = 0.5
    distance: float = 0.5
    source: float = 0.9
    target: float = 0.5
    transfer: bool = True
    alike: bool = False


@dataclass(frozen=True)
class SimulatedMatrix:
    """c_index (C, C), NaN on the diagonal; factors (C, C) by name, and cohort_factors (C,) by name.

    covariance: (C, C, C), of each target's errors, sources by sources.

    Of the factors, same_group and distance are planted (where there is transfer), `learnt` too (of sources); names
    starting with `irrelevant` are not.
    """

    c_index: np.ndarray
    covariance: np.ndarray
    factors: dict[str, np.ndarray]
    cohort_factors: dict[str, np.ndarray]


def simulate_matrix(design: MatrixDesign, seed: int) -> SimulatedMatrix:
    """Draw one matrix."""
    random = generator(seed, "factors", "simulated matrix")
    count = design.cohorts
    group = random.integers(0, GROUPS, count)
    centres, place = random.standard_normal((GROUPS, 2)), random.standard_normal((count, 2))
    place = 0.8 * centres[group] + 0.6 * place
    weighting = _weightings(design, group, place, random)
    learnt = np.clip(1 - design.source * random.random(count), 0.1, 1)
    scored = learnt[:, None] * weighting + (1 - learnt[:, None]) * _unit(random.standard_normal((count, TISSUES)))
    if not design.transfer and not design.alike:
        scored = _unit(random.standard_normal((count, TISSUES)))
    c_index, covariance = np.full((count, count), np.nan), np.zeros((count, count, count))
    for t in range(count):
        told = 3 * np.clip(1 - design.target * random.random(), 0, 1) if design.transfer else 0.0
        values, influence = _score(scored, weighting[t] * told, int(random.integers(40, 121)), random)
        others = np.arange(count) != t
        c_index[others, t] = values[others]
        covariance[t] = influence @ influence.T
    distance = np.linalg.norm(place[:, None] - place, axis=2)
    elsewhere = random.standard_normal((count, 2))
    return SimulatedMatrix(
        c_index,
        covariance,
        {
            "same_group": (group[:, None] == group).astype(float),
            "distance": distance,
            "irrelevant_pair": np.linalg.norm(elsewhere[:, None] - elsewhere, axis=2),
        },
        {"learnt": learnt, "irrelevant_source": random.standard_normal(count)},
    )


def _weightings(design: MatrixDesign, group: np.ndarray, place: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(C, TISSUES) unit vectors: a part of all, one of a group, one that turns with the place, one of its own."""
    shared, of_group = random.standard_normal(TISSUES), random.standard_normal((GROUPS, TISSUES))
    turn, own = random.standard_normal((2, TISSUES)), random.standard_normal((len(group), TISSUES))
    return _unit(0.4 * shared + design.group * of_group[group] + design.distance * place @ turn + 0.4 * own)


def _score(
    scored: np.ndarray, weighting: np.ndarray, n_patients: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """C-index (C,) of every source on fresh patients of one target, and each patient's influence on it (C, N)."""
    fractions = random.dirichlet(np.full(TISSUES, 0.6), n_patients)
    time = random.exponential(size=n_patients) * np.exp(-2 * (fractions - 1 / TISSUES) @ weighting)
    leaves = random.exponential(2.0, n_patients) * np.median(time)
    event = time <= leaves
    observed = np.minimum(time, leaves)
    comparable = event[:, None] & (observed[:, None] < observed)
    risk = scored @ fractions.T
    right = comparable & (risk[:, :, None] > risk[:, None, :])
    total = comparable.sum()
    c_index = right.sum(axis=(1, 2)) / total
    pairs = comparable.sum(axis=0) + comparable.sum(axis=1)
    influence = (right.sum(axis=1) + right.sum(axis=2) - c_index[:, None] * pairs) / total
    return c_index, influence


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
