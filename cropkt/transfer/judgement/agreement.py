"""Do the architectures agree on what transfers? Rank correlation of their transfer matrices, between cohorts only."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from scipy.stats import t as student_t

AGREEMENT_COLUMNS = [
    "encoder",
    "architecture",
    "other_architecture",
    "pairs",
    "spearman",
    "interval_lower",
    "interval_upper",
]
FEWEST_COHORTS = 4
"""With fewer there is no error to be had."""


def architecture_agreement(pairs: pd.DataFrame, value: str = "c_index_pooled", *, level: float = 0.95) -> pd.DataFrame:
    """A row for each two architectures of an encoder: Spearman's correlation over the pairs both have measured.

    Pairs that share a cohort are not independent, so the error is a jackknife over cohorts (a cohort leaves with its
    row and its column), and the interval Student's t on Fisher's scale; NaN with fewer than four cohorts.
    """
    transfer = pairs[(pairs["mode"] == "transfer") & pairs[value].notna()]
    rows = []
    for encoder, of_encoder in transfer.groupby("encoder"):
        wide = of_encoder.pivot(index=["source", "target"], columns="architecture", values=value)
        for one, other in combinations(wide.columns, 2):
            both = wide[[one, other]].dropna()
            rows.append([encoder, one, other, len(both), *_correlation(both, level)])
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def _correlation(both: pd.DataFrame, level: float) -> tuple[float, float, float]:
    if len(both) < 3:
        return np.nan, np.nan, np.nan
    source, target = both.index.get_level_values("source"), both.index.get_level_values("target")
    cohorts = sorted(set(source) | set(target))
    values = both.to_numpy()
    spearman = float(spearmanr(values[:, 0], values[:, 1]).statistic)
    if len(cohorts) < FEWEST_COHORTS or abs(spearman) == 1:
        return spearman, np.nan, np.nan
    kept = [values[(source != cohort) & (target != cohort)] for cohort in cohorts]
    without = np.arctanh([spearmanr(part[:, 0], part[:, 1]).statistic for part in kept])
    count = len(cohorts)
    error = np.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    reach = student_t.ppf(0.5 + level / 2, count - 1) * error
    centre = np.arctanh(spearman)
    return spearman, float(np.tanh(centre - reach)), float(np.tanh(centre + reach))
