"""Where a risk stands among others: the one definition of a risk percentile."""

import numpy as np


def risk_percentile(risk: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """For each of `risk` (n,) the share of `among` (default: `risk`) that is lower, equal ones counted half.

    Between 0 and 1, and (rank - 1/2) / n where `among` is `risk` itself. NaN where a risk is NaN; NaN in `among` does
    not count.
    """
    ordered = np.sort(risk if among is None else among)
    ordered = ordered[np.isfinite(ordered)]
    below, up_to = np.searchsorted(ordered, risk, "left"), np.searchsorted(ordered, risk, "right")
    return np.where(np.isfinite(risk), (below + up_to) / (2 * max(1, len(ordered))), np.nan)
