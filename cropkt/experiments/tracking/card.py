"""The identity of results in MLflow: created once and stored beside them, so that any machine can log them later."""

import getpass
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cropkt.data.study import Study
from cropkt.experiments.journal import git_commit
from cropkt.files import read_json, write_json
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class CohortCounts:
    """What MLflow is told of a cohort: the digest of its data, and how much there is."""

    digest: str
    patients: int
    events: int
    slides: int


@dataclass(frozen=True)
class Card:
    """`id` is a tag of every run of these results; `settings` say how they were made.

    cohorts: by code. made_by: MLflow's tags of who made the results with which code.
    """

    id: str
    experiment: str
    settings: dict[str, str] = field(default_factory=dict)
    cohorts: dict[str, CohortCounts] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)


def tracking_folder(results: ResultsFolder) -> Path:
    """What MLflow is to know of these results, beyond the results themselves."""
    return results.out / "tracking" / results.encoder


def card_path(results: ResultsFolder) -> Path:
    """The JSON file of the card."""
    return tracking_folder(results) / f"{results.architecture}.json"


def read_tracking_card(results: ResultsFolder) -> Card | None:
    """The card, where these results have ever been logged, or tried to be."""
    known = read_json(card_path(results))
    if not known:
        return None
    cohorts = {code: CohortCounts(**counts) for code, counts in known.get("cohorts", {}).items()}
    return Card(**{**known, "cohorts": cohorts})


def keep_card(
    results: ResultsFolder, experiment: str, settings: Mapping[str, str], cohorts: Mapping[str, CohortCounts]
) -> Card:
    """The card, made or brought up to date; empty `settings` are those of a run that only logs."""
    known = read_tracking_card(results) or Card(uuid.uuid4().hex, experiment)
    card = Card(
        known.id,
        experiment,
        dict(settings) or known.settings,
        dict(cohorts) or known.cohorts,
        _made_by() if settings else known.made_by,
    )
    if card != read_tracking_card(results):
        write_json(card_path(results), asdict(card))
    return card


@dataclass(frozen=True)
class Logged:
    """The last time that all was logged to an SQLite file: `content` of the results, `file` as it was left."""

    content: str
    file: str
    experiment_id: str


def read_logged(results: ResultsFolder) -> Logged | None:
    """The mark of the last time, where there is one that can be read."""
    known = read_json(_logged_path(results)) or {}
    return Logged(**known) if set(known) == {field.name for field in fields(Logged)} else None


def keep_logged(results: ResultsFolder, logged: Logged) -> None:
    """Leave the mark."""
    write_json(_logged_path(results), asdict(logged))


def _logged_path(results: ResultsFolder) -> Path:
    return tracking_folder(results) / f"{results.architecture}.logged.json"


def cohorts_shown(study: Study) -> dict[str, CohortCounts]:
    """What a card says of the study's cohorts."""
    return {
        code: CohortCounts(
            digest=cohort.fingerprint,
            patients=len(cohort.labels),
            events=int(cohort.labels["event"].sum()),
            slides=len(cohort.slides),
        )
        for code, cohort in study.cohorts.items()
    }


def _made_by() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "unknown"
    commit = git_commit()
    return {
        "mlflow.user": user,
        "mlflow.source.name": "cropkt",
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }
