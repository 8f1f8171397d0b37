"""Merged task vectors against cases worked by hand."""

import torch

from cropkt.rivals.task_vectors import mean_of, ties_of


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
