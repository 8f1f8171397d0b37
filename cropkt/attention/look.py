"""What models attend to on one slide, and how much two of them look at the same patches.

The slide is a bag of its own, also where its patient has others: attention sums to 1 over it. A source's attention is
the mean over its fold models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.stats import rankdata

from cropkt.errors import InputError
from cropkt.factors.facts.models import attend, attention_overlap
from cropkt.models.mil import MILModel
from cropkt.seeds import generator

TOP = 0.1
"""Share of a slide's patches that counts as looked at most."""
ORDERS = 100


@dataclass(frozen=True)
class Look:
    """Attention (M, N) of M sources, by name, to a slide's N patches; each row sums to 1."""

    slide: str
    sources: tuple[str, ...]
    attention: np.ndarray

    @property
    def times_mean(self) -> np.ndarray:
        """(M, N): 1 is the slide's mean patch."""
        return self.attention * self.attention.shape[1]

    @property
    def percentile(self) -> np.ndarray:
        """(M, N) between 0 and 1: the share of the slide's patches with less attention, equal ones counted half."""
        return (rankdata(self.attention, axis=1) - 0.5) / self.attention.shape[1]

    @property
    def top(self) -> np.ndarray:
        """(M, N) bool: the TOP share of patches with most attention, at least one."""
        count = max(1, round(TOP * self.attention.shape[1]))
        chosen = np.zeros(self.attention.shape, dtype=bool)
        np.put_along_axis(chosen, np.argsort(-self.attention, axis=1, kind="stable")[:, :count], True, axis=1)
        return chosen

    @property
    def held_by_top(self) -> np.ndarray:
        """(M,): the share of all attention that the top patches hold."""
        return np.where(self.top, self.attention, 0).sum(axis=1)


@dataclass(frozen=True)
class Overlap:
    """How much two sources look at the same patches.

    overlap: attention they share, sum of the smaller of both (factors.facts.models.attention_overlap); 1 is all.
    by_chance: the same if one of them had its attention on patches drawn at random. shared_top: share of one's top
    patches that are the other's too; by chance TOP.
    """

    one: str
    other: str
    overlap: float
    by_chance: float
    shared_top: float


def look(slide: str, features: np.ndarray, models: Mapping[str, Sequence[MILModel]]) -> Look:
    """Attention of the `models` of each source to a slide's features (N, D). Raises InputError for another width."""
    values = torch.from_numpy(np.asarray(features, dtype=np.float32))
    offsets = torch.tensor([0, len(values)])
    rows = []
    for source, of_source in models.items():
        width = of_source[0].architecture.features
        if values.shape[1] != width:
            raise InputError(f"slide {slide} has {values.shape[1]} features, the models of {source} read {width}")
        attention = attend(of_source, values, offsets).astype(np.float64).clip(min=0)
        rows.append((attention / attention.sum(axis=1, keepdims=True)).mean(axis=0))
    return Look(slide, tuple(models), np.array(rows))


def overlaps(found: Look, seed: int = 0) -> list[Overlap]:
    """Of every two sources."""
    patches = found.attention.shape[1]
    shared = attention_overlap(found.attention, np.array([0, patches]))
    random = generator(seed, "attention", "overlap by chance")
    orders = [random.permutation(patches) for _ in range(ORDERS)]
    rows = []
    for one, other in combinations(range(len(found.sources)), 2):
        chance = [np.minimum(found.attention[one], found.attention[other][order]).sum() for order in orders]
        top = (found.top[one] & found.top[other]).sum() / found.top[one].sum()
        names = found.sources[one], found.sources[other]
        rows.append(Overlap(*names, float(shared[one, other]), float(np.mean(chance)), float(top)))
    return rows
