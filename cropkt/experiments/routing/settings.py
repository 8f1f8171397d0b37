"""What a routing run is asked for, how its methods are set up, and what it has found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cropkt.errors import ConfigError
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import Selection
from cropkt.experiments.routing.space import KINDS
from cropkt.models.router import RouterSettings
from cropkt.routing.methods import RoutingSettings

if TYPE_CHECKING:
    from cropkt.experiments.routing.search import Unit
    from cropkt.experiments.routing.trial import RoutingJob


@dataclass(frozen=True)
class RoutingRun:
    """What a person asked for. `config` is what all experiments share; its folds are those of the source models.

    tune: what is searched for, of KINDS. spaces: files that replace tune_spaces/<kind>.yaml. trials: a search's, for
    each outer fold. timeout: seconds for all searches. source_folds: which fold models make a source's expert vector.
    """

    config: RunConfig
    tune: tuple[str, ...] = ("router", "fusion")
    spaces: Mapping[str, Path] = field(default_factory=dict)
    trials: int = 20
    timeout: float | None = None
    source_folds: tuple[int, ...] = (0,)
    inner_folds: int = 3

    def __post_init__(self) -> None:
        for kind in (*self.tune, *self.spaces):
            if kind not in KINDS:
                raise ConfigError(f"{kind!r} cannot be tuned; choose of {', '.join(KINDS)}")
        for kind in self.spaces:
            if kind not in self.tune or not self.trials:
                raise ConfigError(f"--space {kind}: no {kind} is searched for; see --tune and --trials")
        if self.trials < 0 or self.inner_folds < 2 or not self.source_folds:
            raise ConfigError("--trials must be 0 or more, --inner-folds 2 or more, --source-folds name a fold")
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigError(f"--timeout is {self.timeout:g}; it must be above 0 seconds")


@dataclass(frozen=True)
class RoutingOutcome:
    """What a run has found. trials: those that counted, by search. failed: what could not be done, with the reason."""

    job: "RoutingJob"
    targets: tuple[str, ...]
    methods: pd.DataFrame
    gates: pd.DataFrame
    trials: "dict[Unit, list[dict[str, Any]]]"
    failed: dict[str, str]


def routing_settings(run: RoutingRun, selection: Selection) -> RoutingSettings:
    """How routers and their rivals are set up where nothing is tuned; with `--protocol paper` as in the release."""
    paper = run.config.protocol == "paper"
    return RoutingSettings(
        source_folds=run.source_folds,
        inner_parts=run.inner_folds,
        cross_fitted=not paper,
        router=RouterSettings(balance_over="bag" if paper else "update"),
        training=selection.training,
        released_gru=paper,
    )


def settings_shown(run: RoutingRun, settings: RoutingSettings) -> dict[str, str]:
    """What MLflow and the report say a run was made with."""
    return {
        "tuned": ",".join(run.tune) if run.trials else "nothing",
        "trials": str(run.trials),
        "protocol": run.config.protocol,
        "seed": str(run.config.seed),
        **{name: str(value) for name, value in asdict(settings).items() if not isinstance(value, dict)},
    }
