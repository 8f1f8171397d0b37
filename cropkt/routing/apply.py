"""A stored router on new slides: risks, survival probabilities, and which experts it listened to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from cropkt.data.bags import Bags
from cropkt.errors import CheckpointError
from cropkt.files import stored_files
from cropkt.models.checkpoint import load_model, why_no_model
from cropkt.models.mil import TrainedWith
from cropkt.models.predict import predict
from cropkt.models.router import Router
from cropkt.routing.cards import read_router_card
from cropkt.routing.combination import predict_combination
from cropkt.routing.recalibrated import read_calibration
from cropkt.survival.calibration import Recalibration
from cropkt.training.cards import source_card
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class StoredRouter:
    """A router as its fold left it. experts: the cohorts of its experts, the target first; models: their files.

    calibration: of the routers of all folds, where there is one.
    """

    router: Router
    target: str
    fold: int
    encoder: str
    features: int
    experts: tuple[str, ...]
    models: tuple[tuple[Path, ...], ...]
    fingerprints: tuple[tuple[str, ...], ...]
    calibration: Recalibration | None = None

    @property
    def precision(self) -> str:
        """The precision in which the router and its source models are asked."""
        return self.router.reading().precision


@dataclass(frozen=True)
class RouterPredictions:
    """For B patients, the mean over routers: risk (B,), a higher one an earlier event; gates (B, n) of `experts`.

    calibration: turns risks into survival probabilities; None where the routers have none. Their hazards are no
    probabilities (survival/calibration.py).
    """

    patients: tuple[str, ...]
    experts: tuple[str, ...]
    risk: np.ndarray
    gates: np.ndarray
    calibration: Recalibration | None


def load_router(path: Path, *, device: str = "cpu") -> StoredRouter:
    """The router at `path` (OUT/routing/ENCODER/ARCHITECTURE/TARGET/router/fold_K.safetensors), in eval mode.

    Its experts are the source models under OUT/models. Raises CheckpointError when it is missing, damaged or no router.
    """
    path = path.resolve()
    card = read_router_card(path)
    if card is None:
        raise CheckpointError(f"{path}: {why_no_model(path) or 'its card is not that of a router'}; tune it again")
    shape = card.shape
    router = Router(
        card.router,
        width=shape.features,
        n_experts=len(card.experts),
        vector=shape.vector,
        intervals=shape.intervals,
    )
    try:
        router.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch raise what they like
        raise CheckpointError(f"{path}: damaged, or not what its card says ({error})") from error
    router.trained_with = TrainedWith(card.training.loss, card.precision)
    folder = ResultsFolder(path.parents[5], card.encoder, card.sources_architecture).models.path
    return StoredRouter(
        router.to(device).eval(),
        card.target,
        card.fold,
        card.encoder,
        shape.features,
        tuple(expert.cohort for expert in card.experts),
        tuple(tuple(folder / model for model in expert.models) for expert in card.experts),
        tuple(expert.fingerprints for expert in card.experts),
        read_calibration(path, card.fingerprint),
    )


def router_paths(path: Path) -> list[Path]:
    """`path` itself, or all routers of a target's folder. Raises CheckpointError when there is none."""
    paths = [*stored_files(path, "fold_*.safetensors"), *stored_files(path, "router/fold_*.safetensors")]
    if path.is_file():
        return [path]
    if not paths:
        raise CheckpointError(f"{path}: no router here; name a router's file, or a folder OUT/routing/.../TARGET")
    return paths


def apply_routers(stored: Sequence[StoredRouter], bags: Bags) -> RouterPredictions:
    """What `stored` routers of one target (its folds) say of `bags`, averaged. Every source model runs once.

    Raises CheckpointError when a source model is missing or is not the one the router was trained with, or the bags
    have another number of features.
    """
    first = stored[0]
    for router in stored:
        if (router.target, router.encoder, router.features) != (first.target, first.encoder, first.features):
            raise CheckpointError(
                f"routers of {first.target} and {router.target}, or of two encoders, do not go together"
            )
    if bags.features.shape[1] != first.features:
        raise CheckpointError(f"the slides have {bags.features.shape[1]} features, the router reads {first.features}")
    for router in stored:
        if router.experts != first.experts:
            raise CheckpointError(
                f"the routers of {first.target} have other experts in fold {router.fold} than in fold {first.fold}; "
                "run scripts/tune_router.py again"
            )
    vectors = _expert_vectors(stored, bags)
    risk, gates = [], []
    for router in stored:
        experts = [np.mean([vectors[path] for path in paths], axis=0) for paths in router.models]
        found = predict_combination(
            router.router,
            bags,
            torch.from_numpy(np.stack(experts, axis=1)).to(bags.features.device),
            np.arange(len(bags)),
        )
        assert found.gates is not None
        risk.append(found.risk)
        gates.append(found.gates)
    mean_risk, mean_gates = np.mean(risk, axis=0), np.mean(gates, axis=0)
    return RouterPredictions(bags.patients, first.experts, mean_risk, mean_gates, first.calibration)


def _expert_vectors(stored: Sequence[StoredRouter], bags: Bags) -> dict[Path, np.ndarray]:
    """(B, V) bag vectors by source model file."""
    wanted: dict[Path, str] = {}
    for router in stored:
        for paths, fingerprints in zip(router.models, router.fingerprints, strict=True):
            wanted |= dict(zip(paths, fingerprints, strict=True))
    device = str(bags.features.device)
    models = []
    for path, fingerprint in wanted.items():
        model = load_model(path, device=device)
        if source_card(path).fingerprint != fingerprint:
            raise CheckpointError(f"{path}: was trained again since the router was; run scripts/tune_router.py again")
        models.append(model)
    found = predict(models, bags).representation
    return dict(zip(wanted, found, strict=True))
