"""Follow-up time in days to one of K intervals, as published: 32 intervals of 365 days (CROPKT, section 4.1)."""

import numpy as np
from numpy.typing import ArrayLike

from cropkt.survival.losses import INTERVALS

LONGEST_EVENT = 11680.0
"""Where the uniform intervals end, in days: 32 years of 365 days."""
BEYOND = 1e-5
"""How far, in days, the last edge lies beyond the longest time, so that nobody falls outside."""


def uniform_edges(
    time: ArrayLike,
    event: ArrayLike,
    *,
    intervals: int = INTERVALS,
    longest: float | None = LONGEST_EVENT,
) -> np.ndarray:
    """(intervals + 1,) float64 edges in days: equal steps from 0 to `longest`, or to the longest event time if None.

    `time` (N,) days and `event` (N,) 0/1 are those of the whole label table, all folds. The last edge becomes the
    longest of them, events or not, plus 1e-5. Raises ValueError without any event when `longest` is None.
    """
    time = np.asarray(time, dtype=np.float64)
    if longest is None:
        longest = float(_event_times(time, event).max())
    return _closed(np.linspace(0.0, longest, intervals + 1), time)


def quantile_edges(time: ArrayLike, event: ArrayLike, *, intervals: int) -> np.ndarray:
    """(intervals + 1,) float64 edges in days with as many events in each interval; the ends as in `uniform_edges`.

    Not used in the study. Raises ValueError without any event.
    """
    time = np.asarray(time, dtype=np.float64)
    return _closed(np.quantile(_event_times(time, event), np.linspace(0, 1, intervals + 1)), time)


def interval_of(time: ArrayLike, edges: np.ndarray) -> np.ndarray:
    """(N,) int64: the interval, from 0, of each time. Intervals are closed on the left: 365 days is interval 1.

    Raises ValueError for a time outside the edges, NaN among them.
    """
    time = np.asarray(time, dtype=np.float64)
    outside = ~((time >= edges[0]) & (time < edges[-1]))
    if outside.any():
        raise ValueError(f"a time of {time[outside][0]} days is outside the intervals {edges[0]:g} to {edges[-1]:g}")
    return np.searchsorted(edges, time, side="right") - 1


def _event_times(time: np.ndarray, event: ArrayLike) -> np.ndarray:
    of_events = time[np.asarray(event) == 1]
    if not len(of_events):
        raise ValueError("these intervals end at the longest event time, and there is no event")
    return of_events


def _closed(edges: np.ndarray, time: np.ndarray) -> np.ndarray:
    edges[0] = 0.0
    edges[-1] = max(edges[-1], float(time.max(initial=0.0))) + BEYOND
    return edges
