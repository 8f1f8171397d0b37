"""ABMIL without the gate (Ilse et al. 2018, arXiv 1802.04712, eq. 8)."""

from cropkt.models.mil import Architecture
from cropkt.models.pooled import Attention, AttentionMIL


class UngatedABMIL(AttentionMIL):
    """Pooling by attention without a gate."""

    name = "abmil_ungated"
    label = "attention without a gate"

    def build_pooling(self, architecture: Architecture) -> None:
        """The attention."""
        self.attention_net = Attention(architecture.embedding, architecture.attention, architecture.dropout)


ARCHITECTURE = UngatedABMIL
