"""How the risk of a source's models reads in a cohort: its distribution there, and the survival that goes with it.

The patients it is learnt from are unseen by the models: all of another cohort, and in the source's own cohort those of
the test fold of each model. Models of several folds share no scale, so each is standardised by its own unseen patients
before they are averaged.

A reference leaves the house, so that no number in it is one patient's. Risks are means of groups of at least
GROUP patients. Cumulative hazards are on a monthly grid, and change in straight lines between months that at least
GROUP deaths lie between; a day of death is not in them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cropkt.survival.calibration import Recalibration, recalibrate

GROUP = 5
"""Patients, or deaths, that a number stands for at least."""
MOST_GROUPS = 100
MONTH = 365 / 12
"""Days, so that a year of 365 days ends on the grid."""


@dataclass(frozen=True)
class Reference:
    """How the risk of one source's F fold models reads in one cohort.

    centre, scale: (F,) mean and standard deviation of each model's risk among patients it has not seen. groups: (k,)
    ascending means of the standardised risk in groups of equal size. patients, events: it is learnt from. calibration:
    from standardised risk to survival, None with fewer than GROUP deaths.
    """

    centre: np.ndarray
    scale: np.ndarray
    groups: np.ndarray
    patients: int
    events: int
    calibration: Recalibration | None

    def standardised(self, risk: np.ndarray) -> np.ndarray:
        """(B,) mean over models of their standardised risk (F, B): 0 is the cohort's mean, 1 a standard deviation."""
        return mean_of_known((risk - self.centre[:, None]) / self.scale[:, None])

    def percentile(self, standardised: np.ndarray) -> np.ndarray:
        """(B,) share of the cohort, from 0 to 1, with a lower risk; no finer at the ends than a group."""
        if not len(self.groups):
            return np.full(len(standardised), np.nan)
        levels = (np.arange(len(self.groups)) + 0.5) / len(self.groups)
        known = np.isfinite(standardised)
        return np.where(known, np.interp(standardised, self.groups, levels), np.nan)


def learn_reference(time: ArrayLike, event: ArrayLike, risk: np.ndarray) -> Reference:
    """From a cohort's patients: time (N,) days, event (N,) 0/1, risk (F, N) by model, NaN where the model has seen the
    patient. Patients whom every model has seen do not count."""
    centre, scale = _scales(risk)
    known = np.isfinite(risk).any(axis=0)
    days, died = np.asarray(time, dtype=np.float64)[known], np.asarray(event).astype(bool)[known]
    found = Reference(centre, scale, np.empty(0), int(known.sum()), int(died.sum()), None)
    standardised = found.standardised(risk[:, known])
    calibration = None
    if found.events >= GROUP:
        calibration = monthly(recalibrate(days, died, standardised), days[died])
    return replace(found, groups=_group_means(standardised), calibration=calibration)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """(B,) mean over the rows of (F, B) of what is not NaN, NaN where all is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(axis=0))


def monthly(model: Recalibration, deaths: np.ndarray) -> Recalibration:
    """`model` on a monthly grid up to the last whole month of its follow-up; deaths: (n,) days it was fitted to.

    Its curves keep their values at months between which at least GROUP deaths lie, and are straight lines from one to
    the next: a constant hazard.
    """
    last = int(model.end // MONTH)
    days = MONTH * np.arange(1, last + 1)
    knots = _knots(np.searchsorted(np.sort(deaths), days, side="right"))
    place = np.searchsorted(model.times, days[knots], side="right")
    curves = {}
    for name in ("cumulative", "variance", "drift"):
        values = np.concatenate([[0.0], getattr(model, name)])[place]
        curves[name] = np.interp(days, [0.0, *days[knots]], [0.0, *values])
    return replace(model, times=days, end=MONTH * last, **curves)


def _knots(counted: np.ndarray) -> list[int]:
    """Months, the last among them, between which at least GROUP deaths lie; counted: (M,) deaths up to each month."""
    knots: list[int] = []
    before = 0
    for month, so_far in enumerate(counted):
        if so_far - before >= GROUP:
            knots.append(month)
            before = so_far
    if len(counted) and len(counted) - 1 not in knots:
        knots = [*knots[:-1], len(counted) - 1]  # too few deaths are left for a piece of their own
    return knots


def _scales(risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F,) centre and scale of each model's unseen patients; of all models' for one with fewer than GROUP."""
    known = np.isfinite(risk)
    of_model = [row[there] if there.sum() >= GROUP else risk[known] for row, there in zip(risk, known, strict=True)]
    centre = np.array([values.mean() for values in of_model])
    scale = np.array([values.std() for values in of_model])
    return centre, np.where(scale > 0, scale, 1.0)


def _group_means(standardised: np.ndarray) -> np.ndarray:
    """Ascending means of groups of at least GROUP patients, at most MOST_GROUPS; none of fewer than GROUP patients."""
    groups = min(MOST_GROUPS, len(standardised) // GROUP)
    return np.array([part.mean() for part in np.array_split(np.sort(standardised), groups)]) if groups else np.empty(0)
