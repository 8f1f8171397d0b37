"""Models on disk: safetensors for the weights, a JSON card beside it that says what they are.

A card's `fingerprint` covers everything that decided the weights (data, training, seed, start), so that "is this
model still the one that would be trained?" is one comparison.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cropkt.errors import CheckpointError
from cropkt.files import atomic_path, write_json
from cropkt.models.build import build_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.seeds import named_seed


def build_null_model(architecture: Architecture, seed: int) -> MILModel:
    """The common random start of all source models of one architecture; the caller's random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "null model", architecture.name))
        return build_model(architecture)


def save_model(path: Path, model: MILModel, card: Mapping[str, Any]) -> None:
    """Write `path` (.safetensors) and its card (`.json`), the card last: a card promises complete weights."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary)
    trained_with = None if model.trained_with is None else asdict(model.trained_with)
    write_json(card_path(path), {**card, "architecture": asdict(model.architecture), "trained_with": trained_with})


def card_path(path: Path) -> Path:
    """Where the card of the model at `path` is."""
    return path.with_suffix(".json")


def read_card(path: Path) -> dict[str, Any] | None:
    """The card of the model at `path`, or None when there is no complete model."""
    try:
        card = json.loads(card_path(path).read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{card_path(path)}: not readable as JSON ({error}); delete it to train again") from error
    return card if path.exists() else None


def load_model(path: Path, *, device: str | torch.device = "cpu") -> MILModel:
    """The model at `path`, in eval mode; it knows the loss and the precision that its card gives.

    Raises CheckpointError when the card or the weights are missing or damaged, or do not fit each other: a wrong
    file never scores as random weights.
    """
    card = read_card(path)
    if card is None:
        raise CheckpointError(f"{path}: no model here, or its card {card_path(path).name} is missing; train it again")
    try:
        weights = load_file(path, device=str(device))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged ({error}); delete it to train again") from error
    try:
        architecture = Architecture(**card["architecture"])
        trained_with = None if card["trained_with"] is None else TrainedWith(**card["trained_with"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{card_path(path)}: not a model's card ({error!r}); delete it to train again") from error
    return _with_weights(architecture, weights, trained_with, path, device)


def load_published(
    path: Path, architecture: Architecture, *, loss: str, device: str | torch.device = "cpu"
) -> MILModel:
    """A checkpoint of the authors (`train_model-last.pth`): a dict whose `model` is a state dict.

    The file does not say with which `loss` it was trained; the released ones of ABMIL with "discrete_nll".
    Names and shapes must be those of `architecture`, all of them; CheckpointError says which are not.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: not readable as a PyTorch checkpoint ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model", content), dict):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, not a dict with the model's weights")
    return _with_weights(architecture, content.get("model", content), TrainedWith(loss, "float32"), path, device)


def _with_weights(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    trained_with: TrainedWith | None,
    path: Path,
    device: str | torch.device,
) -> MILModel:
    with torch.device("meta"):
        model = build_model(architecture)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        shown = "; ".join(f"{name}: expected {expected.get(name)}, found {found.get(name)}" for name in wrong[:4])
        raise CheckpointError(f"{path}: not a {architecture.name} of this size: {shown} ({len(wrong)} names differ)")
    model.load_state_dict(dict(weights), assign=True)
    model.trained_with = trained_with
    return model.to(device).eval()
