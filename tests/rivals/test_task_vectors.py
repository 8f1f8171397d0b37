"""Merged task vectors against cases worked by hand."""

import math

import pytest
import torch

from cropkt.rivals.task_vectors import adaptive_of, entropy_of_hazards, mean_of, ties_of


def test_the_mean_is_the_mean() -> None:
    torch.testing.assert_close(mean_of(torch.tensor([[1.0, 4.0], [3.0, 0.0]])), torch.tensor([2.0, 2.0]))


def test_ties_trims_elects_a_sign_and_averages_what_has_it() -> None:
    """A fifth of five values: the largest of each vector is kept."""
    added = torch.tensor(
        [
            [3.0, 0.1, 0.1, 0.1, 0.1],
            [-9.0, 0.1, 0.2, 0.1, 0.1],
            [5.0, 4.0, 0.1, 0.1, 0.1],
            [0.1, 0.2, 0.1, 2.0, 0.1],
        ]
    )
    # First parameter: 3, -9 and 5 are kept; their sum is negative, so -9 alone counts. Fourth: 2 alone.
    torch.testing.assert_close(ties_of(added), torch.tensor([-9.0, 0.0, 0.0, 2.0, 0.0]))


def test_weights_go_where_the_entropy_is_least() -> None:
    """A bowl whose lowest point is 0.5 of one vector, 0.1 of another and -0.1 of a third."""
    added = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    best = torch.tensor([0.5, 0.1, -0.1]) @ added
    found = adaptive_of(added, lambda vector: vector - best)
    torch.testing.assert_close(found, best, atol=0.15, rtol=0)  # the mean of the vectors is 1.4 away


def test_entropy_of_hazards_is_that_of_the_year_of_death() -> None:
    """Even over three years and later: log 4. Certain: 0. Else as summed over the outcomes."""
    hazard = torch.tensor([[1 / 4, 1 / 3, 1 / 2], [0.0, 1.0, 0.3], [0.2, 0.5, 0.1]], dtype=torch.float64)
    outcomes = [0.2, 0.8 * 0.5, 0.4 * 0.1, 0.4 * 0.9]
    expected = [math.log(4), 0.0, -sum(p * math.log(p) for p in outcomes)]
    assert entropy_of_hazards(hazard).tolist() == pytest.approx(expected)
