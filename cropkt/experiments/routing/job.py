"""What every trial of a routing run is handed, how its methods are set up, and what the run has found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from cropkt.experiments.routing.config import SearchConfig
from cropkt.experiments.run import Run
from cropkt.files import digest
from cropkt.models.router import RouterSettings
from cropkt.routing.methods import RoutingSettings
from cropkt.routing.store import RoutingFolder
from cropkt.training.sources import source_fingerprint
from cropkt.transfer.judgement.repeats import Repeat, repeated_predictions
from cropkt.transfer.significance import TargetPredictions, at_home

Unit = tuple[str, str, int]
"""What one search is for: kind (router, fusion, abmil), target, outer fold."""
ROUTING_VERSION = 1
"""Raised when the code changes what the same data and settings give."""


@dataclass(frozen=True)
class SearchPoint:
    """One point of a search. values: settings that differ from the default ones."""

    kind: str
    target: str
    fold: int
    values: Mapping[str, Any]

    @property
    def unit(self) -> Unit:
        """The search that tries it."""
        return self.kind, self.target, self.fold


@dataclass(frozen=True)
class TrialRecord:
    """What became of a search's point `number`, as it is stored.

    state: complete, stopped (by halving) or failed. score, loss: the last ones reported, None without a report;
    reports: all scores, in order. failed: the reason, "" without one. seconds: from asking to the end.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    score: float | None
    loss: float | None
    reports: list[float]
    failed: str
    seconds: float


@dataclass(frozen=True)
class FoldFit:
    """The final fit of all methods on an outer fold.

    chosen: the values that searches chose, by kind. source: the single source chosen on training patients, or None.
    fingerprint: of what is to come out.
    """

    target: str
    fold: int
    chosen: Mapping[str, Mapping[str, Any]]
    source: str | None
    fingerprint: str


@dataclass(frozen=True)
class RoutingJob:
    """The run, the experts of each target beside its own model (`sources`), and how methods are set up.

    first: where `run` is a repeat (Run.repeated), the run that it repeats: models of other cohorts, and what they say,
    are its.
    """

    run: Run
    sources: dict[str, tuple[str, ...]]
    settings: RoutingSettings
    first: Run | None = None

    @property
    def lenders(self) -> Run:
        """The run whose models of other cohorts are the experts."""
        return self.first or self.run

    def folder(self, target: str) -> RoutingFolder:
        """Where the target's results lie."""
        return RoutingFolder(self.run.results, target)

    def folds(self, target: str) -> list[tuple[str, int]]:
        """(target, outer fold), in order."""
        return [(target, fold) for fold in range(len(self.run.cohorts[target].folds))]

    def fingerprint(self, target: str) -> str:
        """Changes whenever anything changes, but a search, that decides what comes out for a target."""
        run = self.lenders
        models = [source_fingerprint(run.plan, run.cohorts[code], run.folds) for code in self.sources[target]]
        return digest(ROUTING_VERSION, self.own_fingerprint(target), models, asdict(self.settings))

    def predictions(self, target: str) -> TargetPredictions | None:
        """What sources, and what is trained on the target, say in this cross-validation; None where the target's own
        models have not been measured."""
        names = sorted({*self.sources[target], target, *at_home()} - {"self"})
        said = self.lenders.results.predictions(target, names)
        if self.first is None or said is None:
            return said
        repeat = Repeat(self.run.results, {target: self.run.cohorts[target].folds}, self.run.fingerprint)
        return next((of for of, _ in repeated_predictions(said, [repeat])), None)

    def own_fingerprint(self, target: str) -> str:
        """Of the target's own models, those that did not see inner parts among them."""
        cohort = self.run.cohorts[target]
        return digest(
            ROUTING_VERSION,
            [self.run.plan.fingerprint(cohort, fold) for _, fold in self.folds(target)],
            self.settings.inner_parts,
            self.settings.cross_fitted,
        )


@dataclass(frozen=True)
class RoutingOutcome:
    """What a run has found. trials: those that counted, by search. failed: what could not be done, with the reason."""

    job: RoutingJob
    methods: pd.DataFrame
    gates: pd.DataFrame
    trials: dict[Unit, list[TrialRecord]]
    failed: dict[str, str]


def routing_settings(run: Run, search: SearchConfig) -> RoutingSettings:
    """How routers and their rivals are set up where nothing is tuned; with `--protocol paper` as in the release."""
    paper = run.config.protocol == "paper"
    return RoutingSettings(
        source_folds=search.source_folds,
        inner_parts=search.inner_folds,
        cross_fitted=not paper,
        router=RouterSettings(balance_over="bag" if paper else "update"),
        training=run.plan.training,
        released_gru=paper,
    )


def settings_shown(job: RoutingJob, search: SearchConfig) -> dict[str, str]:
    """What MLflow and the report say a run was made with."""
    return {
        "tuned": ",".join(search.tune) if search.trials else "nothing",
        "trials": str(search.trials),
        "protocol": job.run.config.protocol,
        "seed": str(job.run.plan.seed),
        "repeats": str(job.run.config.repeats),
        **{name: str(value) for name, value in asdict(job.settings).items() if not isinstance(value, dict)},
    }
