"""The log of an analysis: one run beside the sweep that it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cropkt.experiments.config import TrackingConfig
from cropkt.experiments.tracking.card import Card, read_tracking_card
from cropkt.experiments.tracking.store import Entry, Store, reason, tracking_uri
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class Analysis:
    """What is logged of an analysis of `kind`. A history is a metric with a value per step."""

    kind: str
    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    histories: Mapping[str, Sequence[float]] = field(default_factory=dict)
    files: Sequence[Path] = ()


def log_analysis(results: ResultsFolder, study: str, config: TrackingConfig, analysis: Analysis) -> str:
    """Log one run, tagged with the run of the sweep; returns what went wrong, else "".

    The experiment is the one that was asked for, else the sweep's, else named after the study.
    """
    card = read_tracking_card(results)
    store = Store(tracking_uri(results.out, config.uri), results.out)
    try:
        experiment_id = store.experiment(config.experiment or (card.experiment if card else study))
        tags = {"cropkt.kind": analysis.kind, **_of_sweep(store, experiment_id, card)}
        if card is not None:
            known = store.runs(experiment_id, {"cropkt.kind": analysis.kind, "cropkt.results": card.id})
            store.delete_halves([run for run in known if run.info.run_name == analysis.name])
        files = [(path, None) for path in analysis.files]
        entry = Entry(analysis.name, tags, analysis.parameters, analysis.metrics, analysis.histories, files)
        store.log(experiment_id, entry)
    except Exception as error:  # whatever a store can raise: it must never cost a result
        return reason(error)
    return ""


def _of_sweep(store: Store, experiment_id: str, card: Card | None) -> dict[str, str]:
    if card is None:
        return {}
    sweeps = store.runs(experiment_id, {"cropkt.kind": "sweep", "cropkt.results": card.id})
    return {"cropkt.results": card.id} | ({"cropkt.sweep_run": sweeps[0].info.run_id} if sweeps else {})
