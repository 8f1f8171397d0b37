"""Cards of source models: what each was trained on, and how; stored as JSON beside the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from cropkt.errors import CheckpointError
from cropkt.models.checkpoint import read_card, save_model
from cropkt.models.mil import Architecture, MILModel
from cropkt.training.config import TrainingConfig

Card = TypeVar("Card", "SourceCard", "NullCard", "PanCancerCard")


@dataclass(frozen=True)
class NullCard:
    """The common random start of all source models of one encoder and architecture, and the settings they share."""

    architecture: Architecture
    training: TrainingConfig
    seed: int
    precision: str
    kind: str = "null model"


@dataclass(frozen=True)
class SourceCard:
    """The model of one fold of a source cohort.

    train_patients, validation_patients: digests of the patients it has seen (persons.person_digest), never their ids.
    test_c_index: of its own test fold, None where undefined; test_comparable: comparable pairs of patients there.
    passing_slides: those of skipped_slides that may be readable the next time (bags.passing_slides): while there are
    any, the model is trained again by the next run.
    losses, learning_rates: by update.
    """

    architecture: Architecture
    training: TrainingConfig
    seed: int
    precision: str
    cohort: str
    fold: int
    encoder: str
    data_fingerprint: str
    fingerprint: str
    train_patients: tuple[str, ...]
    validation_patients: tuple[str, ...]
    test_c_index: float | None
    test_comparable: int
    skipped_slides: tuple[str, ...]
    passing_slides: tuple[str, ...]
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    versions: Mapping[str, str]
    kind: str = "source model"

    @property
    def seen(self) -> tuple[str, ...]:
        """Digests of all patients the model has seen."""
        return self.train_patients + self.validation_patients


@dataclass(frozen=True)
class PanCancerCard:
    """A network that was trained on many cohorts together, to be used on those that it leaves out.

    cohorts: who trained it; left_out: who did not. part: its number among the networks that share this training; it has
    not learnt from this part of each cohort's patients. train_patients, passing_slides, losses: as in SourceCard.
    """

    architecture: Architecture
    training: TrainingConfig
    seed: int
    precision: str
    left_out: tuple[str, ...]
    cohorts: tuple[str, ...]
    part: int
    fingerprint: str
    train_patients: tuple[str, ...]
    passing_slides: tuple[str, ...]
    losses: tuple[float, ...]
    kind: str = "pan-cancer network"


def read_source_card(path: Path) -> SourceCard | None:
    """The card of the source model at `path`; None when there is no whole one (checkpoint.why_no_model)."""
    return _card(SourceCard, path)


def read_null_card(path: Path) -> NullCard | None:
    """The card of the common start at `path`; None when there is no whole one."""
    return _card(NullCard, path)


def read_pan_cancer_card(path: Path) -> PanCancerCard | None:
    """The card of the pan-cancer network at `path`; None when there is no whole one."""
    return _card(PanCancerCard, path)


def source_card(path: Path) -> SourceCard:
    """The card of the source model at `path`. Raises CheckpointError when there is no whole one."""
    card = read_source_card(path)
    if card is None:
        raise CheckpointError(f"{path}: its card is not that of a source model; run the sweep again, it trains it anew")
    return card


def save_with_card(path: Path, model: MILModel, card: SourceCard | NullCard | PanCancerCard) -> None:
    """Write the model and its card."""
    save_model(path, model, asdict(card))


def _card(kind: type[Card], path: Path) -> Card | None:
    stored = read_card(path)
    if stored is None:
        return None
    try:
        values: dict[str, Any] = {field.name: stored[field.name] for field in fields(kind)}
        values["architecture"] = Architecture(**values["architecture"])
        values["training"] = TrainingConfig(**values["training"])
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        card = kind(**values)
    except (KeyError, TypeError, ValueError):
        return None
    return card if card.kind == kind.kind else None


def flat(card: NullCard) -> dict[str, Any]:
    """Settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in asdict(card).items():
        found |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    return found
