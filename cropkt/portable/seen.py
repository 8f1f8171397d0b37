"""What slides the models have seen, and how far a new slide lies from them.

A slide is the mean of its patches' features. The training cohort's slides span a few directions (principal components)
and scatter little around them. A new slide is far when it lies far out along these directions, or far beside them: the
larger of both distances counts, each in units of what a slide of the cohort typically has when it is left out (its
median over patients left out in turn). So 1 is an ordinary slide. The limit is one that a slide of the cohort exceeds
by chance with a probability of at most 1 % (conformal: Vovk et al. 2005), or 1 / (n + 1) with n < 99 slides; and no
more of the slides it was learnt from exceed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cropkt.seeds import generator

MOST_COMPONENTS = 16
PATIENTS_A_COMPONENT = 5
FEWEST_PATIENTS = 10
"""With fewer, nothing is said about what the models have seen."""
PARTS = 5
"""Groups of patients that are left out in turn."""
FALSE_WARNINGS = 0.01


@dataclass(frozen=True)
class SeenFeatures:
    """Slides of a cohort: mean (D,), k directions (k, D) with their variances (k,), and `rest`, the variance in each of
    the other directions. typical: median distances, along and beside the directions, of slides left out. limit: the
    distance above which a slide counts as unseen. slides, patients: it is learnt from."""

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    typical: np.ndarray
    limit: float
    slides: int
    patients: int

    def distance(self, slides: np.ndarray) -> np.ndarray:
        """(n,) of slides' mean features (n, D); 1 is typical for the cohort."""
        return (_distances(self, slides) / self.typical).max(axis=1)


def learn_seen(slides: np.ndarray, patients: Sequence[str], seed: int = 0) -> SeenFeatures | None:
    """From mean features (N, D) of the slides of `patients` (N,); None with fewer than FEWEST_PATIENTS of them."""
    names, owner = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    if len(names) < FEWEST_PATIENTS:
        return None
    slides = np.asarray(slides, dtype=np.float64)
    part = generator(seed, "portable", "seen").permutation(np.arange(len(names)) % PARTS)[owner]
    components = min(MOST_COMPONENTS, len(names) // PATIENTS_A_COMPONENT, slides.shape[1] // 2)
    left_out = np.empty((len(slides), 2))
    for group in range(PARTS):
        left_out[part == group] = _distances(_fit(slides[part != group], components), slides[part == group])
    found = _fit(slides, components)
    typical = np.maximum(np.median(left_out, axis=0), np.finfo(np.float32).tiny)
    # The directions fit the slides they were found in, which lie farther out along them than new ones do.
    limit = max(_limit((distances / typical).max(axis=1)) for distances in (left_out, _distances(found, slides)))
    return SeenFeatures(
        found.mean, found.directions, found.variances, found.rest, typical, limit, len(slides), len(names)
    )


def _fit(slides: np.ndarray, components: int) -> SeenFeatures:
    """Mean and directions; distances are not in units of anything yet."""
    mean = slides.mean(axis=0)
    _, lengths, directions = np.linalg.svd(slides - mean, full_matrices=False)
    variances = lengths**2 / max(1, len(slides) - 1)
    others = max(1, slides.shape[1] - components)
    rest = max(float(variances[components:].sum()) / others, np.finfo(np.float32).tiny)
    kept = np.maximum(variances[:components], rest)
    return SeenFeatures(mean, directions[:components], kept, rest, np.ones(2), np.inf, len(slides), 0)


def _distances(seen: SeenFeatures, slides: np.ndarray) -> np.ndarray:
    """(n, 2): along the directions and beside them, each the root of the mean squared standardised coordinate."""
    centred = np.asarray(slides, dtype=np.float64) - seen.mean
    along = centred @ seen.directions.T
    beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    others = max(1, centred.shape[1] - len(seen.variances))
    return np.sqrt(np.stack([(along**2 / seen.variances).mean(axis=1), beside / (seen.rest * others)], axis=1))


def _limit(left_out: np.ndarray) -> float:
    """The conformal quantile of distances of left-out slides."""
    count = len(left_out)
    rank = min(count, int(np.ceil((count + 1) * (1 - FALSE_WARNINGS))))
    return float(np.sort(left_out)[rank - 1])
