"""From a name to a model."""

from cropkt.models.abmil import ABMIL
from cropkt.models.dsmil import DSMIL
from cropkt.models.mil import Architecture, MILModel
from cropkt.models.transmil import TransMIL

METHODS: dict[str, type[MILModel]] = {
    "abmil": ABMIL,
    "abmil_ungated": ABMIL,
    "mean": ABMIL,
    "max": ABMIL,
    "dsmil": DSMIL,
    "transmil": TransMIL,
}


def build_model(architecture: Architecture) -> MILModel:
    """A model of `architecture` with random weights, drawn from torch's current random state."""
    return METHODS[architecture.name](architecture)
