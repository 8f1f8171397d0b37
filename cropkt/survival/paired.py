"""The mean of independent values with its interval."""

import numpy as np
from scipy.stats import t as student_t


def mean_with_interval(values: np.ndarray) -> dict[str, float]:
    """mean, lower and upper (95 %, Student's t) of independent `values`, and their number as targets."""
    count = len(values)
    error = values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    reach = student_t.ppf(0.975, count - 1) * error if count > 1 else np.nan
    mean = float(values.mean()) if count else np.nan
    return {"mean": mean, "lower": mean - reach, "upper": mean + reach, "targets": count}
