"""From a name to a model."""

from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.mil import Architecture, MILModel


def build_model(architecture: Architecture) -> MILModel:
    """A model of `architecture` with random weights, drawn from torch's current random state."""
    model: MILModel = ARCHITECTURES[architecture.name](architecture)
    return model
