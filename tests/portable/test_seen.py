"""Slides like the cohort's are let through, all but a few, and slides unlike them are found."""

import numpy as np
import pytest

from cropkt.portable.seen import FALSE_WARNINGS, learn_seen

WIDTH = 40


def slides(count: int, seed: int) -> np.ndarray:
    """Slides that differ along three directions, and by noise."""
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, 3)))[0] * [3.0, 2.0, 1.0]
    random = np.random.default_rng(seed)
    return 5 + random.normal(size=(count, 3)) @ directions.T + 0.3 * random.normal(size=(count, WIDTH))


def names(count: int) -> list[str]:
    return [f"patient {number}" for number in range(count)]


@pytest.mark.parametrize("count", [20, 60, 300])
def test_new_slides_of_the_cohort_are_rarely_warned_of(count: int) -> None:
    """Over 40 cohorts the share of warnings is what is promised, within the error of the experiment."""
    shares, typical = [], []
    for seed in range(40):
        found = learn_seen(slides(count, seed), names(count), seed)
        assert found is not None
        distance = found.distance(slides(200, 1000 + seed))
        shares.append((distance > found.limit).mean())
        typical.append(np.median(distance))
    promised = max(FALSE_WARNINGS, 1 / (count + 1))
    assert np.mean(shares) < promised + 3 * np.std(shares) / np.sqrt(len(shares))
    assert 0.9 < np.mean(typical) < 1.5


@pytest.mark.parametrize("kind", ["along", "beside", "encoder"])
def test_other_slides_are_warned_of(kind: str) -> None:
    known = slides(120, 1)
    found = learn_seen(known, names(120))
    assert found is not None
    other = slides(50, 2)
    if kind == "along":
        other += 8 * found.directions[0] * np.sqrt(found.variances[0])
    elif kind == "beside":
        other += 3 * np.linalg.qr(np.vstack([found.directions, np.ones(WIDTH)]).T)[0][:, -1]
    else:
        other = other[:, np.random.default_rng(3).permutation(WIDTH)] * 1.5
    assert (found.distance(other) > found.limit).mean() > 0.95


def test_slides_of_a_patient_are_left_out_together() -> None:
    """Every patient has two equal slides: were one kept while the other is left out, it would seem too near."""
    once = slides(30, 4)
    alone = learn_seen(once, names(30))
    twice = learn_seen(np.repeat(once, 2, axis=0), list(np.repeat(names(30), 2)))
    assert alone is not None
    assert twice is not None
    assert twice.typical == pytest.approx(alone.typical, rel=0.05)


def test_no_more_of_the_known_slides_are_warned_of() -> None:
    for seed in range(10):
        known = slides(60, seed)
        found = learn_seen(known, names(60), seed)
        assert found is not None
        assert (found.distance(known) > found.limit).mean() <= 1 / 60


def test_few_patients_say_nothing() -> None:
    assert learn_seen(slides(9, 0), names(9)) is None
    assert learn_seen(slides(30, 0), names(9) * 3 + names(3)) is None
