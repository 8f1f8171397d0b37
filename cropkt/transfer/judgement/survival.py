"""Survival probabilities of a pair: its risk recalibrated on the target's training patients, and how good that is.

Only for models that know no patient of the target: their risk is as good on training as on test patients. A model of
the target itself is too sure of those it has learnt from.
"""

from dataclasses import dataclass

import numpy as np

from cropkt.survival.calibration import cross_fit_survival, follow_up_end
from cropkt.survival.probabilities import brier_gain, event_calibration, kaplan_meier, uno_c_index

HORIZON = 5 * 365.0
"""Days. Where follow-up ends earlier, its end."""
MOMENTS = 20
"""Days between 0 and the horizon at which the Brier score is taken."""


@dataclass(frozen=True)
class SurvivalQuality:
    """All NaN where nothing can be said; the columns of the same names say more (rows.PairRow)."""

    horizon: float = np.nan
    uno_c_index: float = np.nan
    brier_gain: float = np.nan
    calibration_p: float = np.nan
    survival_predicted: float = np.nan
    survival_observed: float = np.nan
    survival_observed_error: float = np.nan


def survival_quality(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, tested_in: np.ndarray, train: list[np.ndarray]
) -> SurvivalQuality:
    """Of `risk` (M, B), NaN where a model may not score a patient; a patient's risk is the mean of its models'.

    time, event, tested_in: (B,). train: for each fold the indices of its training patients; the calibration of a fold
    sees no other's outcome.
    """
    scored = np.isfinite(risk).any(axis=0)
    mean = np.full(len(time), np.nan)
    mean[scored] = np.nanmean(risk[:, scored], axis=0)
    folds = [
        (known[scored[known]], np.flatnonzero(scored & (tested_in == fold)))
        for fold, known in enumerate(train)
        if scored[known].any() and (scored & (tested_in == fold)).any()
    ]
    if not folds or not event[scored].any():
        return SurvivalQuality()
    horizon = min([HORIZON, *(follow_up_end(time[known]) for known, _ in folds)])
    days = np.linspace(0, horizon, MOMENTS + 1)[1:]
    found = cross_fit_survival(time, event, np.tile(mean, (len(folds), 1)), folds, days)
    tested = np.isfinite(found.at_own_time)
    reference = np.full(found.survival.shape, np.nan)
    for known, test in folds:
        reference[test] = kaplan_meier(time[known], event[known], days)[0]
    # Beyond the end of its curve a patient counts as censored there.
    within = event[tested] * (time[tested] <= found.end[tested])
    observed, error = kaplan_meier(time[tested], event[tested], [horizon])
    patients = (time[tested], event[tested])
    return SurvivalQuality(
        horizon,
        _defined(uno_c_index, *patients, mean[tested], horizon, censoring=patients),
        _defined(brier_gain, *patients, found.survival[tested], reference[tested], days, censoring=patients),
        event_calibration(within, found.at_own_time[tested]).p_value,
        float(found.survival[tested, -1].mean()),
        float(observed[0]),
        float(error[0]),
    )


def _defined(measure, *arguments, **more) -> float:  # type: ignore[no-untyped-def]
    """NaN where nobody is left to stand for the censored, which scikit-survival answers with a ValueError."""
    try:
        return float(measure(*arguments, **more))
    except ValueError:
        return float("nan")
