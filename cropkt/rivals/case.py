"""What a rival is given: a target's training and test patients, and what the other cohorts have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cropkt.borrowing.axes import AXES, Moments
from cropkt.borrowing.fit import TargetFit, fit_target
from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders
from cropkt.models.mil import MILModel
from cropkt.rivals.pan_cancer import PanCancerNetworks
from cropkt.survival.concordance import Concordance, concordance
from cropkt.survival.cox import RidgeCox, gaussian_mode, partial_likelihood
from cropkt.training.sources import SourcePlan
from cropkt.transfer.pair import ResidentTarget

SPREADS = (0.25, 0.5, 1.0, 2.0)
"""Standard deviations of log-risk under which the pan-cancer model is tried; the evidence chooses."""

SCATTER = 0.1
"""Standard deviation of sources' true C-indices on a target."""


@dataclass(frozen=True)
class Others:
    """The cohorts other than the target, fitted once for all its draws. ridges: each one's own ridge Cox model."""

    cohorts: tuple[CohortPatients, ...]
    lenders: Lenders
    ridges: Mapping[str, RidgeCox]

    @cached_property
    def pan_cancer(self) -> np.ndarray:
        """(D,) coefficients of one Cox model of all other cohorts on the axes, patients compared within cohorts."""
        axes = self.lenders.axes
        size = axes.directions.shape[1]
        covariates = np.concatenate([axes.project(cohort.features) for cohort in self.cohorts])
        time, event, strata = (
            np.concatenate(parts)
            for parts in zip(*((c.time, c.event, [c.cohort] * len(c.time)) for c in self.cohorts), strict=True)
        )
        likelihood = partial_likelihood(covariates, time, event, strata)
        modes = [gaussian_mode(likelihood, np.zeros(size), s**2 / size * np.eye(size)) for s in SPREADS]
        best = max(modes, key=lambda mode: mode.log_evidence)
        return np.asarray(axes.to_features @ best.coefficients)


def gather_others(
    cohorts: Sequence[CohortPatients],
    ridges: Mapping[str, RidgeCox],
    *,
    axes: int = AXES,
    moments: Sequence[Moments] | None = None,
) -> Others:
    """`cohorts` must not hold the target; `ridges` by cohort, of those that have one; `moments` as gather_lenders."""
    there = {cohort.cohort: ridges[cohort.cohort] for cohort in cohorts if cohort.cohort in ridges}
    return Others(tuple(cohorts), gather_lenders(cohorts, axes=axes, moments=moments), there)


@dataclass(frozen=True)
class Case:
    """One draw of a target. train, test: indices of its patients, disjoint. None, or empty, where no rival needs it are
    held, plan: its bags, and how networks are made; pan_cancer, sources: networks that were trained on the other
    cohorts, on all of them together, and on each alone, by cohort."""

    target: CohortPatients
    train: np.ndarray
    test: np.ndarray
    others: Others
    seed: int
    held: ResidentTarget | None = None
    plan: SourcePlan | None = None
    pan_cancer: PanCancerNetworks | None = None
    sources: Mapping[str, MILModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.intersect1d(self.train, self.test).size:
            raise ValueError(f"{self.target.cohort}: a patient is in training and in test")

    @cached_property
    def training(self) -> CohortPatients:
        """The training patients."""
        target = self.target
        return CohortPatients(
            target.cohort, target.features[self.train], target.time[self.train], target.event[self.train]
        )

    @cached_property
    def tested(self) -> np.ndarray:
        """(n, D) features of the test patients: all that is known of them."""
        return self.target.features[self.test]

    @cached_property
    def fit(self) -> TargetFit:
        """What borrowing makes of the training patients."""
        lenders, own = self.others.lenders, self.training
        return fit_target(lenders.model, lenders.axes, own.features, own.time, own.event)

    @cached_property
    def source_risks(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By other cohort: the risks of its ridge Cox model for training and for test patients."""
        return {
            name: (ridge.risk(self.training.features), ridge.risk(self.tested))
            for name, ridge in self.others.ridges.items()
        }

    def on_training(self, risk: np.ndarray) -> Concordance:
        """Concordance of `risk` with the training patients' outcomes."""
        return concordance(self.training.time, self.training.event, risk)

    def shrunken_c_index(self, risk: np.ndarray) -> float:
        """C-index of `risk` on the training patients, shrunken to 0.5 as a measurement with its standard error is where
        true ones scatter by SCATTER: on few patients it is mostly noise. 0.5 where it is undefined."""
        found = self.on_training(risk)
        if not (np.isfinite(found.c_index) and np.isfinite(found.standard_error)):
            return 0.5
        return 0.5 + (found.c_index - 0.5) * SCATTER**2 / (SCATTER**2 + found.standard_error**2)
