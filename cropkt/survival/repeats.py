"""The error of a C-index, or a difference, whose models were trained on the cohort that tests them.

The U-statistic's error is that of drawing patients for fixed models. A model trained on the target also depends on the
training patients, on how they were split and on the seed, and none of that is in it. So cross-validation is repeated R
times, with other splits and seeds, and repeat r gives an estimate c_r and the patients' influences d_rk on it. Patients
and repeats are crossed; with s_k^2 the variance of d_rk over repeats,

    patients  = sum_k mean_r(d_rk)^2 - sum_k s_k^2 / R      what patients do to the mean of infinitely many repeats
    repeats   = variance of c_r over repeats                what split and seed do, 1 / R of it left in the mean
    training  = patients                                    what another training sample would do: cannot be seen

    variance(mean) = max(sum_k mean_r(d_rk)^2, patients + training + repeats / R)

Every patient trains as often as every other in cross-validation, so splits tell nothing of the luck of the training
sample; `training` is set equal to `patients`, which is what simulation asks for (repeats_check.py). In a difference to
a model that has learnt from other patients it is half of that: one side of two has trained. The corrected error of
Nadeau and Bengio (Machine Learning 2003) is 1.5 times the naive one at five folds, however many repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cropkt.survival.concordance import (
    CombinedConcordance,
    confidence_interval,
    p_value_against,
    p_value_of_difference,
    smallest_difference,
)


@dataclass(frozen=True)
class RepeatedEstimate:
    """The mean of R repeats. standard_error covers patients, training sample, split and seed; patients_error the
    patients alone, for models taken as they are. events: as in CombinedConcordance, the fewest over repeats. With one
    repeat the two errors are equal: nothing but the patients is known."""

    estimate: float
    standard_error: float
    patients_error: float
    n_repeats: int
    events: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Of a C-index."""
        return confidence_interval(self.estimate, self.standard_error, self.events, level=level)

    def p_against(self, value: float = 0.5) -> float:
        """Two-sided p-value of "the C-index is `value`"."""
        return p_value_against(self.estimate, self.standard_error, self.events, value)

    def p_of_difference(self) -> float:
        """Two-sided p-value of "the difference is 0"."""
        return p_value_of_difference(self.estimate, self.standard_error, self.events)

    def smallest_difference(self, *, level: float = 0.05, power: float = 0.8) -> float:
        """The true difference that this study finds with probability `power`."""
        return smallest_difference(self.standard_error, self.events, level=level, power=power)


@dataclass(frozen=True)
class VarianceParts:
    """What the variance of one repeat's estimate is made of; seed is NaN where no split was trained with two seeds, and
    is then within split. patients includes the luck of the training sample."""

    patients: float
    split: float
    seed: float


def repeated_c_index(repeats: Sequence[CombinedConcordance], *, trained: int = 1) -> RepeatedEstimate:
    """The C-index over repeats on the same N patients; repeats without a C-index are left out.

    trained: 0 for what has not learnt from these patients, and differs between repeats by whom is compared alone.
    """
    known = [found for found in repeats if np.isfinite(found.c_index)]
    values, influences = [found.c_index for found in known], [found.influence for found in known]
    return _combined(values, influences, _events(known), training=trained)


def repeated_difference(
    repeats: Sequence[CombinedConcordance], others: Sequence[CombinedConcordance], *, trained: int = 2
) -> RepeatedEstimate:
    """The difference `repeats` - `others` in C-index, repeat by repeat, each pair with the same split.

    trained: how many of the two have learnt from the patients they are tested on, in cross-validation; 1 or 2.
    """
    known = [(a, b) for a, b in zip(repeats, others, strict=True) if np.isfinite(a.c_index - b.c_index)]
    values = [a.c_index - b.c_index for a, b in known]
    events = _events([found for ab in known for found in ab])
    return _combined(values, [a.influence - b.influence for a, b in known], events, training=trained / 2)


def variance_parts(
    values: ArrayLike, influences: ArrayLike, splits: Sequence[int], seeds: Sequence[int]
) -> VarianceParts:
    """values: (R,) estimates; influences: (R, N); splits, seeds: (R,), which of each a repeat had.

    Seeds are nested in splits: the variance between the means of splits, less what seeds do to a mean, is the split's
    (one-way analysis of variance; a negative one counts as 0).
    """
    values, influences = np.asarray(values, dtype=np.float64), np.asarray(influences, dtype=np.float64)
    patients = 2 * _patients(influences)
    groups = [values[np.asarray(splits) == split] for split in np.unique(splits)]
    several = len(set(zip(splits, seeds, strict=True))) > len(groups)
    if len(values) < 2 or len(groups) < 2:
        return VarianceParts(patients, np.nan, float(values.var(ddof=1)) if several else np.nan)
    if not several:
        return VarianceParts(patients, float(values.var(ddof=1)), np.nan)
    sizes = np.array([len(group) for group in groups])
    within = sum(float(np.square(group - group.mean()).sum()) for group in groups) / (len(values) - len(groups))
    between = float(sizes @ np.square([group.mean() - values.mean() for group in groups])) / (len(groups) - 1)
    size = (len(values) - np.square(sizes).sum() / len(values)) / (len(groups) - 1)
    return VarianceParts(patients, max(between - within, 0.0) / size, within)


def _combined(
    values: Sequence[float], influences: Sequence[np.ndarray], events: int, training: float = 1.0
) -> RepeatedEstimate:
    """training: the luck of the training sample, as a multiple of that of the patients."""
    if not len(values):
        return RepeatedEstimate(np.nan, np.nan, np.nan, 0, 0)
    of_mean = float(np.square(np.mean(influences, axis=0)).sum())
    total = of_mean
    if len(values) > 1:
        of_all = (1 + training) * _patients(np.asarray(influences))
        total = max(of_mean, of_all + float(np.var(values, ddof=1)) / len(values))
    return RepeatedEstimate(float(np.mean(values)), float(np.sqrt(total)), float(np.sqrt(of_mean)), len(values), events)


def _patients(influences: np.ndarray) -> float:
    """Variance by patients of the mean of infinitely many repeats, from influences (R, N); never below 0."""
    of_mean = float(np.square(influences.mean(axis=0)).sum())
    if len(influences) == 1:
        return of_mean
    return max(of_mean - float(influences.var(axis=0, ddof=1).sum()) / len(influences), 0.0)


def _events(found: Sequence[CombinedConcordance]) -> int:
    return min((scores.events for scores in found), default=0)
