"""Sums, maxima and softmax means of patches that come in parts: what is held does not grow with their number.

Shapes: P patches of a part, E width, K weightings.
"""

import torch
from torch import Tensor


class RunningSoftmax:
    """The mean of patches weighted by the softmax of their scores over all parts, for each of K weightings.

    Numerators and denominators are kept relative to the largest score so far (Milakov and Gimelshein 2018, arXiv
    1805.02867, algorithm 3), so no score overflows and the result is that of one softmax, up to rounding.
    """

    def __init__(self) -> None:
        self._highest: Tensor | None = None

    def add(self, score: Tensor, values: Tensor) -> None:
        """Scores (P, K) and values (P, E) of a part."""
        highest = score.amax(dim=0)
        if self._highest is None:
            self._highest = highest
            self._total = torch.zeros_like(highest)
            self._weighted = values.new_zeros(score.shape[1], values.shape[1])
        new = torch.maximum(self._highest, highest)
        shrink, weight = (self._highest - new).exp(), (score - new).exp()
        self._total = self._total * shrink + weight.sum(dim=0)
        self._weighted = self._weighted * shrink[:, None] + weight.T @ values
        self._highest = new

    def mean(self) -> Tensor:
        """(K, E): the weighted means."""
        return self._weighted / self._total[:, None]


class RunningMaximum:
    """The largest value of each of E columns over all parts, and a row that goes with it."""

    def __init__(self) -> None:
        self.values: Tensor | None = None
        self.rows: Tensor | None = None

    def add(self, values: Tensor, rows: Tensor | None = None) -> None:
        """Values (P, E) of a part and, where they are asked for, the rows (P, W) that patches bring along."""
        top = values.max(dim=0)
        brought = None if rows is None else rows[top.indices]
        if self.values is None:
            self.values, self.rows = top.values, brought
            return
        larger = top.values > self.values  # of equals the first stays, as in one maximum
        self.values = torch.where(larger, top.values, self.values)
        if brought is not None and self.rows is not None:
            self.rows = torch.where(larger[:, None], brought, self.rows)
