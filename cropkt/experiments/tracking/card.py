"""The identity of results in MLflow: created once and stored beside them, so that any machine can log them later."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cropkt.files import read_json, write_json
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class Card:
    """`id` is a tag of every run of these results; `settings` say how they were made."""

    id: str
    experiment: str
    settings: dict[str, str]


def card_path(results: ResultsFolder) -> Path:
    """The JSON file of the card."""
    return results.out / "tracking" / results.encoder / f"{results.architecture}.json"


def read_tracking_card(results: ResultsFolder) -> Card | None:
    """The card, where these results have ever been logged, or tried to be."""
    known = read_json(card_path(results))
    return Card(**known) if known else None


def keep_card(results: ResultsFolder, experiment: str, settings: Mapping[str, str]) -> Card:
    """The card, made or brought up to date."""
    known = read_tracking_card(results)
    card = Card(
        known.id if known else uuid.uuid4().hex, experiment, dict(settings) or (known.settings if known else {})
    )
    if card != known:
        write_json(card_path(results), asdict(card))
    return card
