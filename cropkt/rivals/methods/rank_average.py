"""All other cohorts' ridge Cox models: percentiles among the training patients, averaged. No outcome is used."""

import numpy as np

from cropkt.rivals import Rival
from cropkt.rivals.case import Case
from cropkt.survival.percentile import risk_percentile


def _fit(case: Case) -> np.ndarray | None:
    percentiles = [risk_percentile(tested, training) for training, tested in case.source_risks.values()]
    return np.mean(percentiles, axis=0) if percentiles else None


RIVAL = Rival("rank_average", label="all sources, ranks averaged (linear)", fit=_fit)
