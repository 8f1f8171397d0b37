"""The log of an analysis: one run beside the sweep that it is about. It is stored in the results folder first, so that
`cropkt log` can log it elsewhere, later."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cropkt.experiments.config import TrackingConfig
from cropkt.experiments.tracking.card import Card, keep_card, read_tracking_card, tracking_folder
from cropkt.experiments.tracking.store import Entry, Store, is_whole, reason, tracking_uri
from cropkt.files import content_digest, digest, read_json, write_json
from cropkt.transfer.store import ResultsFolder

COPIED = (".png", ".csv", ".yaml")
"""Files that MLflow gets a copy of, beside an analysis's `tables`. Of weights, tables of patients and the report it
gets path and digest."""


@dataclass(frozen=True)
class Analysis:
    """What is logged of an analysis of `kind`. A history is a metric with a value per step. tables: files of any kind
    that are small and hold no patient, so that MLflow gets copies."""

    kind: str
    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    histories: Mapping[str, Sequence[float]] = field(default_factory=dict)
    files: Sequence[Path] = ()
    tables: Sequence[Path] = ()


def log_analysis(results: ResultsFolder, study_name: str, config: TrackingConfig, analysis: Analysis) -> str:
    """Store and log one run, tagged with the run of the sweep; returns what went wrong, else "".

    The experiment is the one that was asked for, else the sweep's, else named after the study.
    """
    card = read_tracking_card(results)
    named = config.experiment or (card.experiment if card else study_name)
    card = card or keep_card(results, named, {}, {})
    write_json(_path(results, analysis.name), _stored(results, analysis))
    stored = read_json(_path(results, analysis.name))
    assert stored is not None
    store = Store(tracking_uri(results.out, config.uri), results.out)
    try:
        _log(results, store, card, stored, store.experiment(named))
    except Exception as error:  # whatever a store can raise: it must never cost a result
        return reason(error)
    return ""


def log_stored(results: ResultsFolder, store: Store, card: Card) -> None:
    """Log every stored analysis that has not been logged. Raises whatever MLflow raises."""
    found = [read_json(path) for path in sorted(_folder(results).glob("*.json"))]
    if analyses := [stored for stored in found if stored is not None]:
        experiment_id = store.experiment(card.experiment)
        for stored in analyses:
            _log(results, store, card, stored, experiment_id)


def _folder(results: ResultsFolder) -> Path:
    return tracking_folder(results) / results.architecture


def _path(results: ResultsFolder, name: str) -> Path:
    return _folder(results) / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.json"


def _stored(results: ResultsFolder, analysis: Analysis) -> dict[str, Any]:
    return {
        "kind": analysis.kind,
        "name": analysis.name,
        "parameters": {name: str(value) for name, value in analysis.parameters.items()},
        "metrics": dict(analysis.metrics),
        "histories": {name: list(values) for name, values in analysis.histories.items()},
        "files": [path.relative_to(results.out).as_posix() for path in analysis.files],
        "tables": {path.relative_to(results.out).as_posix(): content_digest(path) for path in analysis.tables},
    }


def _log(results: ResultsFolder, store: Store, card: Card, stored: Mapping[str, Any], experiment_id: str) -> None:
    """Log a stored analysis, unless this has been done; what was logged of it before is replaced."""
    tags = {"cropkt.kind": stored["kind"], "cropkt.results": card.id}
    fingerprint = digest(stored)
    known = [run for run in store.runs(experiment_id, tags) if run.info.run_name == stored["name"]]
    if any(is_whole(run) and run.data.tags.get("cropkt.fingerprint") == fingerprint for run in known):
        return
    store.delete(known)
    sweeps = store.runs(experiment_id, {"cropkt.kind": "sweep", "cropkt.results": card.id})
    tags |= {"cropkt.sweep_run": sweeps[0].info.run_id} if sweeps else {}
    files = [path for name in stored["files"] if (path := results.out / name).is_file()]
    tables = [path for name in stored.get("tables", ()) if (path := results.out / name).is_file()]
    histories = {
        name: [float("nan") if x is None else x for x in values] for name, values in stored["histories"].items()
    }
    entry = Entry(
        stored["name"],
        tags | card.made_by | {"cropkt.fingerprint": fingerprint},
        stored["parameters"],
        stored["metrics"],
        histories,
        files=[*tables, *(path for path in files if path.suffix in COPIED)],
        references=[path for path in files if path.suffix not in COPIED],
    )
    store.log(experiment_id, entry)
