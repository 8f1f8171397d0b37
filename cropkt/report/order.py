"""How the matrix is read: orders of cohorts, where a line parts one group from the next, and how far colours go."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from cropkt.cohorts import cohort_info


@dataclass(frozen=True)
class MatrixOrder:
    """rows, columns: positions in the matrix. groups: (name, size) along the rows and columns, in order."""

    rows: list[int]
    columns: list[int]
    groups: list[tuple[str, int]]


def matrix_orders(matrix: pd.DataFrame) -> dict[str, MatrixOrder]:
    """Orders of the cohorts by name.

    registry: large, then rare cohorts. group: by histology group. cluster: rows and columns each by the similarity of
    their values, without groups. `matrix` is sources x targets, C-index, NaN where unknown or not to be relied on.
    """
    codes = list(matrix.index)
    by_group = _grouped(codes, [cohort_info(code).group for code in codes])
    size = {"large": "large cohorts", "rare": "rare cohorts", "own": "own cohorts"}
    registry = _grouped(codes, [size[cohort_info(code).size] for code in codes])
    cluster = MatrixOrder(*cluster_orders(matrix.to_numpy(dtype=float)), groups=[])
    return {"registry": registry, "group": by_group, "cluster": cluster}


def colour_reach(values: np.ndarray) -> float:
    """How far colours go on either side of 0.5; a few cells at 0 or 1 must not wash out the others. NaN is left out."""
    known = np.abs(values[np.isfinite(values)] - 0.5)
    widest = float(np.quantile(known, 0.98)) if len(known) else 0.0
    return round(float(np.clip(np.ceil(widest * 20) / 20, 0.15, 0.4)), 2)


def cluster_orders(values: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows and columns of `values` (sources, targets) in the orders of their dendrograms, like beside like.

    Average linkage, Euclidean. Each target's mean is taken off first: how easy a target is says nothing of how sources
    differ, and would decide alone which targets look alike. Unknown counts as the target's mean.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.divide(np.where(known, values, 0).sum(axis=0), count, out=np.zeros(values.shape[1]), where=count > 0)
    centred = np.where(known, values - mean, 0.0)
    return _leaves(centred), _leaves(centred.T)


def _leaves(rows: np.ndarray) -> list[int]:
    if len(rows) < 3:
        return list(range(len(rows)))
    return [int(row) for row in leaves_list(linkage(pdist(rows), "average", optimal_ordering=True))]


def _grouped(codes: Sequence[str], groups: Sequence[str]) -> MatrixOrder:
    """Groups in the order of their first cohort, cohorts in theirs."""
    first = {group: position for position, group in reversed(list(enumerate(groups)))}
    order = sorted(range(len(codes)), key=lambda position: (first[groups[position]], position))
    runs = [(name, len(list(run))) for name, run in groupby(groups[position] for position in order)]
    return MatrixOrder(order, order, runs)
