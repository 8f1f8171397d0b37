"""Distances between feature distributions: closed forms of Gaussians, references, and zero for halves of one cohort."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm
from scipy.stats import norm, qmc

from cropkt.factors.facts.distances import DISTANCES, DistanceMatrix
from cropkt.factors.facts.distances.mmd import Discrepancy, maximum_mean_discrepancy
from cropkt.factors.facts.points import CohortPoints, shared_axes

WIDTH = 4


def gaussian(count: int, scale: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of N(shift e_1, scale^2 I), each a patient of its own."""
    points = scale * np.random.default_rng(seed).standard_normal((count, WIDTH))
    points[:, 0] += shift
    return points, np.arange(count)


def cohort(patients: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Patches of patients who differ from each other: staining, and fractions of three tissues."""
    random = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), 12)
    fractions = random.dirichlet(np.ones(3), patients)
    kind = np.array([random.choice(3, p=fractions[patient]) for patient in owner])
    tissue = 6 * np.eye(3, WIDTH)[kind]
    staining = random.standard_normal((patients, WIDTH))[owner]
    points = tissue + staining + random.standard_normal((len(owner), WIDTH))
    return points + shift, owner


def measure(name: str, *cohorts: tuple[np.ndarray, np.ndarray]) -> DistanceMatrix:
    points, owner = zip(*cohorts, strict=True)
    return DISTANCES[name].measure(CohortPoints(points, owner, seed=1, components=WIDTH))


def compare(*cohorts: tuple[np.ndarray, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Value and standard error of every distance between the first two cohorts."""
    found = {name: measure(name, *cohorts) for name in DISTANCES}
    return {name: (of.value[0, 1], of.standard_error[0, 1]) for name, of in found.items()}


def test_moment_distances_have_the_closed_form_of_gaussians() -> None:
    one, other = gaussian(60_000, 1.0, 0.0, seed=3), gaussian(60_000, 2.0, 4.0, seed=4)
    expected = {
        "frechet": 4.0**2 + WIDTH * (2 - 1) ** 2,
        "coral": WIDTH * (2**2 - 1) ** 2 / (4 * WIDTH**2),
        "sliced_wasserstein": 4.0**2 / WIDTH + (2 - 1) ** 2,
    }
    for name, value in expected.items():
        assert_allclose(measure(name, one, other).value[0, 1], value, rtol=0.02, err_msg=name)


def test_mmd_has_the_closed_form_of_gaussians_at_every_bandwidth() -> None:
    # Quasi-random points: 2,048 of them carry less noise than 30,000 random ones.
    one, other = [norm.ppf(qmc.Sobol(WIDTH, seed=seed).random(2048)) for seed in (5, 6)]
    other = 2 * other + [4, 0, 0, 0]
    owner = [np.arange(2048)] * 2
    found = maximum_mean_discrepancy([one, other], owner, median=4.0)

    def mean_kernel(variance: float, shift: float, bandwidth: float) -> float:
        total = bandwidth**2 + variance
        return (bandwidth**2 / total) ** (WIDTH / 2) * np.exp(-(shift**2) / (2 * total))

    assert_allclose(found.bandwidths, [2.0, 4.0, 8.0])
    for number, bandwidth in enumerate(found.bandwidths):
        expected = mean_kernel(2, 0, bandwidth) + mean_kernel(8, 0, bandwidth) - 2 * mean_kernel(5, 4, bandwidth)
        assert_allclose(found.value[number, 0, 1], expected, rtol=0.02)


def test_accuracy_is_that_of_the_best_rule_for_gaussians() -> None:
    one, other = gaussian(20_000, 1.0, 0.0, seed=7), gaussian(20_000, 1.0, 1.5, seed=8)
    assert_allclose(measure("accuracy", one, other).value[0, 1], norm.cdf(0.75), rtol=0.02)


def brute_force_mmd(points: list[np.ndarray], owner: list[np.ndarray], bandwidth: float) -> float:
    """The definition: mean kernels of patches of different patients."""

    def mean_kernel(a: int, b: int) -> float:
        values = []
        for i in range(owner[a].max() + 1):
            for j in range(owner[b].max() + 1):
                if a != b or i != j:
                    x, y = points[a][owner[a] == i], points[b][owner[b] == j]
                    squares = np.square(x[:, None] - y).sum(axis=2)
                    values.append(np.exp(-squares / (2 * bandwidth**2)).mean())
        return float(np.mean(values))

    return mean_kernel(0, 0) + mean_kernel(1, 1) - 2 * mean_kernel(0, 1)


def test_mmd_and_its_jackknife_are_those_of_the_definition() -> None:
    points, owner = [list(part) for part in zip(cohort(5, 1), cohort(4, 2, shift=1.0), strict=True)]
    # Patients differ in how many patches they have, and patches lie anywhere.
    points[0], owner[0] = points[0][:-7] + 100, owner[0][:-7]
    points[1] = points[1] + 100
    found: Discrepancy = maximum_mean_discrepancy(points, owner, median=3.0)
    assert_allclose(found.value[1, 0, 1], brute_force_mmd(points, owner, 3.0), rtol=2e-4)
    variance = 0.0
    for side in (0, 1):
        left_out = []
        for patient in range(owner[side].max() + 1):
            kept = owner[side] != patient
            less = [points[side][kept] if which == side else points[which] for which in (0, 1)]
            whose = [np.unique(owner[side][kept], return_inverse=True)[1] if w == side else owner[w] for w in (0, 1)]
            left_out.append(brute_force_mmd(less, whose, 3.0))
        variance += (len(left_out) - 1) * np.var(left_out)
    assert_allclose(found.standard_error[1, 0, 1], np.sqrt(variance), rtol=1e-3)


def test_frechet_is_the_formula_with_matrix_roots_but_for_the_bias_it_takes_away() -> None:
    one, other = cohort(400, 1), cohort(400, 2, shift=2.0)
    found = measure("frechet", one, other)
    first, second = np.cov(one[0].T), np.cov(other[0].T)
    root = sqrtm(first)
    plugged_in = np.square(one[0].mean(axis=0) - other[0].mean(axis=0)).sum()
    plugged_in += np.trace(first + second - 2 * np.real(sqrtm(root @ second @ root)))
    assert abs(found.value[0, 1] - plugged_in) < 0.02 * plugged_in
    assert found.value[0, 1] < plugged_in


def test_the_jackknife_takes_the_whole_bias_of_a_mean_away() -> None:
    """Ten patients of one patch against a point: Frechet is |m|^2 + tr(C), of which |m|^2 is tr(C) / 10 too large.

    With one patient per part the jackknife is exact: the value, and the error from ten values that leave one out.
    """
    points = cohort(10, 3)[0][::12]
    nowhere = np.zeros_like(points)
    found = measure("frechet", (points, np.arange(10)), (nowhere, np.arange(10)))
    trace = np.trace(np.cov(points.T))
    assert_allclose(found.value[0, 1], np.square(points.mean(axis=0)).sum() - trace / 10 + trace)
    less = [np.delete(points, patient, axis=0) for patient in range(10)]
    values = [np.square(of.mean(axis=0)).sum() + np.trace(np.cov(of.T)) for of in less]
    assert_allclose(found.standard_error[0, 1], np.sqrt(9 * np.var(values)))


def test_two_halves_of_one_cohort_are_at_distance_zero_within_their_error() -> None:
    beyond: dict[str, int] = {}
    total: dict[str, np.ndarray] = {}
    for seed in range(30):
        points, owner = cohort(60, seed)
        halves = [(points[owner % 2 == half], owner[owner % 2 == half] // 2) for half in (0, 1)]
        for name, (value, error) in compare(*halves).items():
            from_zero = value - 0.5 * (name == "accuracy")
            total[name] = total.get(name, np.zeros(2)) + np.array([from_zero, error])
            beyond[name] = beyond.get(name, 0) + (abs(from_zero) > 2 * error)
    assert set(beyond) == set(DISTANCES) >= {"frechet", "coral", "sliced_wasserstein", "accuracy", "mmd"}
    # 5 % would be 1.5 of 30; 6 or more have a chance of 0.3 %.
    assert max(beyond.values()) <= 5, beyond
    # Moments plugged into the formulas are off by a whole error.
    for name, (value, error) in total.items():
        assert abs(value) < 0.7 * error, name


def test_cohorts_apart_are_far_beyond_their_error() -> None:
    for name, (value, error) in compare(cohort(60, 1), cohort(60, 2, shift=3.0)).items():
        if name != "coral":  # covariances are alike
            assert value - 0.5 * (name == "accuracy") > 5 * error, name


def test_patches_of_one_patient_are_not_independent_evidence() -> None:
    """A cohort of six patients is known no better for the number of their patches."""
    few, many = cohort(6, 1), cohort(120, 2)
    points, owner = [list(part) for part in zip(few, many, many, strict=True)]
    mmd = maximum_mean_discrepancy(points, owner, median=5.0)
    assert mmd.standard_error[1, 0, 1] > 3 * mmd.standard_error[1, 1, 2]
    with pytest.raises(ValueError, match="three patients"):
        maximum_mean_discrepancy([points[0], points[1][:24]], [owner[0], owner[1][:24]], median=5.0)


def test_shared_axes_count_every_cohort_equally() -> None:
    random = np.random.default_rng(0)
    large = random.standard_normal((5000, 3)) * [1, 5, 1]
    small = random.standard_normal((500, 3)) * [9, 1, 1]
    axes = shared_axes([large, small], 2)
    assert abs(axes.axes[0, 0]) > 0.99
    assert abs(axes.axes[1, 1]) > 0.99
    assert_allclose(axes.share, (41 + 13) / (41 + 13 + 1), rtol=0.05)
    assert axes.project(small).shape == (500, 2)
