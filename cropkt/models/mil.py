"""What every multiple-instance model is: patches of bags in; logits, a representation and attention out.

A model reads patches through linear layers that stand side by side (`patch_layer`); what follows makes a bag of them
(`from_patch_layer`). The methods are the files of architectures/; `build_model` chooses. Parameter names are those of
the published checkpoints, so these load as they are.
Shapes: P patches of B bags, D features, E embedding, K intervals.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.precision import DTYPES
from cropkt.survival.losses import LOSSES


@dataclass(frozen=True)
class Architecture:
    """What a model is made of; the defaults are the published ones (CROPKT, section 4.1).

    `attention` is the width of ABMIL's attention branches, `projection_layers` is for abmil, abmil_ungated, mean and
    max; the other methods have neither. Every method's representation is `embedding` wide.
    """

    features: int
    name: str = "abmil"
    embedding: int = 512
    attention: int = 384
    intervals: int = 32
    projection_layers: int = 1
    dropout: float = 0.25

    def __post_init__(self) -> None:
        method = ARCHITECTURES[self.name]
        for field in ("features", "embedding", "attention", "intervals", "projection_layers"):
            if getattr(self, field) < 1:
                raise ConfigError(f"architecture.{field} is {getattr(self, field)}; it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"architecture.dropout is {self.dropout}; it must be at least 0 and below 1")
        method.check(self)


class BagOutput(NamedTuple):
    """What a model says of B bags: logits (B, K), representation (B, E), attention (P,).

    Attention sums to 1 over a bag, but for transmil, whose attention is an approximation.
    """

    logits: Float[Tensor, "B K"]
    representation: Float[Tensor, "B E"]
    attention: Float[Tensor, " P"]


@dataclass(frozen=True)
class TrainedWith:
    """How to read a model's outputs: `loss` decides what logits mean, `precision` ("float32" or "bfloat16") is the one
    it was trained in and is asked in."""

    loss: str
    precision: str

    def __post_init__(self) -> None:
        refuse_unknown("loss", self.loss, list(LOSSES))
        refuse_unknown("precision", self.precision, list(DTYPES))


class SurvivalModel(nn.Module):
    """A network whose logits stand for a prognosis. Training, or the card it is loaded with, says which one."""

    trained_with: TrainedWith | None = None

    def reading(self) -> TrainedWith:
        """How to read its outputs. Raises ValueError for a model that was neither trained nor loaded."""
        if self.trained_with is None:
            raise ValueError("a model that was neither trained nor loaded has logits without a meaning")
        return self.trained_with


class MILModel(SurvivalModel):
    """What all methods have in common. `build_model` makes one.

    A method is a subclass with a `name`, a `label` for people, its two functions, and where it needs one a `check`.
    has_linear_head: are its logits a linear layer `pred_head` of its representation? Only then can a head be tuned, or
    start another model, by itself.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    has_linear_head: ClassVar[bool] = False

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    @classmethod
    def check(cls, architecture: Architecture) -> None:
        """Raise ConfigError where this method cannot be of these sizes."""

    def forward(self, features: Float[Tensor, "P D"], offsets: Int64[Tensor, " B1"]) -> BagOutput:
        """`features` (P, D) of B bags; bag b owns rows offsets[b]:offsets[b + 1]. One output a bag."""
        return self.from_patch_layer(F.linear(features, *self.patch_layer()), features, offsets)

    def patch_layer(self) -> tuple[Float[Tensor, "W D"], Float[Tensor, " W"]]:
        """Weight (W, D) and bias (W,) of the linear layers that read the patches."""
        raise NotImplementedError

    def accumulator(self) -> "Accumulator | None":
        """What puts a bag together from its parts, or None where a bag has to be there as a whole."""
        return None

    def whole_bag_bytes(self, n_patches: int) -> int:
        """About how much memory a bag of `n_patches` takes where it has to be there as a whole, features included."""
        return 4 * n_patches * (self.architecture.features + 4 * self.architecture.embedding)

    def from_patch_layer(
        self, product: Float[Tensor, "P W"], features: Float[Tensor, "P D"], offsets: Int64[Tensor, " B1"]
    ) -> BagOutput:
        """The rest of the model, from what `patch_layer` made of the patches, (P, W), and the patches themselves."""
        raise NotImplementedError


class Accumulator(ABC):
    """One bag whose patches come in parts, in the hands of one model in eval mode.

    The bag is walked `passes` times. Each walk begins with `begin`, goes on with `add` for every part in order, and the
    last one ends with `finish`. What is held between parts does not grow with the bag, and the result is that of the
    whole bag up to the rounding of sums in another order.
    """

    passes: ClassVar[int] = 1

    @abstractmethod
    def begin(self, walk: int) -> None:
        """Walk number `walk` (0, 1, ...) begins; what an unfinished walk of that number has added is forgotten."""

    @abstractmethod
    def add(self, product: Tensor, features: Tensor) -> None:
        """A part of the bag: what `patch_layer` made of its patches, (P, W), and the patches themselves (P, D)."""

    @abstractmethod
    def finish(self) -> tuple[Tensor, Tensor]:
        """Logits (K,) and representation (E,) of the bag."""


def build_model(architecture: Architecture) -> MILModel:
    """A model of `architecture` with random weights, drawn from torch's current random state."""
    model: MILModel = ARCHITECTURES[architecture.name](architecture)
    return model


def forward_together(
    models: Sequence[MILModel], features: Float[Tensor, "P D"], offsets: Int64[Tensor, " B1"]
) -> list[BagOutput]:
    """Several models of one architecture, in eval mode, on the same bags, the patches read once.

    Their patch layers are one wide matrix product, (P, D) x (D, M W); what follows is each model's own. Equals
    `[model(features, offsets) for model in models]` up to rounding.
    """
    weights, biases = zip(*(model.patch_layer() for model in models), strict=True)
    wide = F.linear(features, torch.cat(weights), torch.cat(biases))
    parts = wide.split([len(bias) for bias in biases], dim=1)
    return [model.from_patch_layer(part, features, offsets) for model, part in zip(models, parts, strict=True)]


def at_least_float32(tensor: Tensor) -> Tensor:
    """`tensor` itself, or in float32 where it is in half precision."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
