"""What a source tells beyond age, sex and stage: one Cox model with both risks, by test fold."""

from dataclasses import dataclass

import numpy as np

from cropkt.survival.confounders import gain_beyond, standardised_within
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.significance import TargetPredictions, sources_beyond_cohorts

CLINICAL = "clinical"
"""The baseline whose risk stands for what is known without a slide."""


@dataclass(frozen=True)
class Gain:
    """Of a source, or the target's own model, beyond the clinical baseline. hazard_ratio: for one standard deviation of
    the risk. p_value: likelihood ratio, two-sided. NaN where events are too few for two risks."""

    source: str
    target: str
    hazard_ratio: float
    p_value: float


def gains_beyond_clinical(predictions: TargetPredictions) -> list[Gain]:
    """A row for each cohort's models; nothing where study.yaml names no clinical columns, so that there is no baseline.

    Both risks are standardised within test folds, as each fold's models have a scale of their own.
    """
    if CLINICAL not in predictions.risk:
        return []
    clinical = _risk(predictions, CLINICAL)
    known = np.isfinite(clinical)
    found = []
    for name in predictions.risk:
        if mode_of(name, predictions.own) not in ("transfer", "self", *sources_beyond_cohorts()):
            continue
        risk = _risk(predictions, name)
        used = known & np.isfinite(risk)
        fold = predictions.tested_in[used]
        gain = gain_beyond(
            predictions.time[used],
            predictions.event[used],
            standardised_within(risk[used], fold),
            standardised_within(clinical[used], fold)[:, None],
            [fold],
        )
        found.append(Gain(name, predictions.own, gain.hazard_ratio, gain.p_value))
    return found


def _risk(predictions: TargetPredictions, name: str) -> np.ndarray:
    """(B,) mean over models."""
    risk = predictions.risk[name]
    mean = np.full(risk.shape[1], np.nan)
    scored = np.isfinite(risk).any(axis=0)
    mean[scored] = np.nanmean(risk[:, scored], axis=0)
    return mean
