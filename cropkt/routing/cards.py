"""The card of a router: its settings, its shape, and the source models that are its experts."""

from dataclasses import dataclass, fields
from pathlib import Path

from cropkt.models.checkpoint import read_card
from cropkt.models.router import RouterSettings
from cropkt.training.config import TrainingConfig


@dataclass(frozen=True)
class ExpertCard:
    """An expert: the mean of a cohort's source models. models: their files under the results' models folder."""

    cohort: str
    models: tuple[str, ...]
    fingerprints: tuple[str, ...]


@dataclass(frozen=True)
class RouterShape:
    """Widths of a router: of patch features, of the experts' bag vectors, and its number of intervals."""

    features: int
    vector: int
    intervals: int


@dataclass(frozen=True)
class RouterCard:
    """The router of one outer fold of a target. experts: the target's own model first.

    train_patients: digests of the patients it has seen (persons.person_digest), never their ids.
    """

    target: str
    fold: int
    encoder: str
    sources_architecture: str
    experts: tuple[ExpertCard, ...]
    router: RouterSettings
    shape: RouterShape
    training: TrainingConfig
    seed: int
    precision: str
    train_patients: tuple[str, ...]
    fingerprint: str
    torch: str
    kind: str = "router"


def read_router_card(path: Path) -> RouterCard | None:
    """The card of the router at `path`; None when there is no whole router."""
    stored = read_card(path)
    if stored is None:
        return None
    try:
        values = {field.name: stored[field.name] for field in fields(RouterCard)}
        values["router"] = RouterSettings(**values["router"])
        values["shape"] = RouterShape(**values["shape"])
        values["training"] = TrainingConfig(**values["training"])
        values["train_patients"] = tuple(values["train_patients"])
        values["experts"] = tuple(
            ExpertCard(expert["cohort"], tuple(expert["models"]), tuple(expert["fingerprints"]))
            for expert in values["experts"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return RouterCard(**values) if values["kind"] == RouterCard.kind else None
