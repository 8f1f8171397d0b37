"""Models on disk: safetensors for the weights, a JSON card beside it that says what they are.

A card's `fingerprint` covers everything that decided the weights (data, training, seed, start), so that "is this
model still the one that would be trained?" is one comparison. Its `weights` is the size and digest of the weights'
file: a model whose file is not as it was written is no model.
"""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cropkt.errors import CheckpointError
from cropkt.files import atomic_path, content_digest, read_json, stored_files, write_json
from cropkt.models.mil import Architecture, MILModel, TrainedWith, build_model
from cropkt.seeds import named_seed


@dataclass(frozen=True)
class ModelFolder:
    """Where the source models of one encoder and architecture lie."""

    path: Path

    def weights(self, code: str, fold: int) -> Path:
        """Weights of the source model of `code` and `fold`; its card is beside it (`card_path`)."""
        return self.path / code / f"fold_{fold}.safetensors"

    @property
    def null(self) -> Path:
        """Weights of the common random start."""
        return self.path / "null.safetensors"

    def cohorts(self) -> list[str]:
        """Cohorts that have any model here."""
        return sorted({path.parent.name for path in stored_files(self.path, "*/fold_*.safetensors")})

    def of(self, code: str) -> list[Path]:
        """Weights of all source models of `code`, in the order of their folds' names."""
        return stored_files(self.path / code, "fold_*.safetensors")


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
    identity = {"architecture": asdict(model.architecture), "weights": content_digest(path)}
    write_json(card_path(path), {**card, **identity, "trained_with": trained_with})


def card_path(path: Path) -> Path:
    """Where the card of the model at `path` is."""
    return path.with_suffix(".json")


def read_card(path: Path) -> dict[str, Any] | None:
    """The card of the model at `path`, or None when there is no whole model: it is missing, or card or weights are
    damaged (`why_no_model`)."""
    return None if why_no_model(path) else read_json(card_path(path))


def why_no_model(path: Path) -> str:
    """What is wrong with the model at `path`; "" for a whole one, whose weights are those that its card describes."""
    if not card_path(path).is_file():
        return f"no model here, or its card {card_path(path).name} is missing"
    card = read_json(card_path(path))
    if card is None or "weights" not in card:
        return f"its card {card_path(path).name} is damaged"
    try:
        return "" if content_digest(path) == card["weights"] else "damaged: not the weights that its card describes"
    except OSError as error:
        return f"no model here, only its card ({error.strerror})"


def load_model(path: Path, *, device: str | torch.device = "cpu") -> MILModel:
    """The model at `path`, in eval mode; it knows the loss and the precision that its card gives.

    Raises CheckpointError when the card or the weights are missing or damaged, or do not fit each other: a wrong
    file never scores as random weights.
    """
    card = read_card(path)
    if card is None:
        raise CheckpointError(f"{path}: {why_no_model(path)}; run the sweep again, it trains what is not whole")
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
