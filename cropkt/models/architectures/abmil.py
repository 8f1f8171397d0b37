"""ABMIL, the study's model (Ilse et al. 2018, arXiv 1802.04712, eq. 9)."""

from cropkt.models.mil import Architecture
from cropkt.models.pooled import AttentionMIL, GatedAttention


class ABMIL(AttentionMIL):
    """Pooling by gated attention."""

    name = "abmil"
    label = "gated attention"

    def build_pooling(self, architecture: Architecture) -> None:
        """The gated attention."""
        self.attention_net = GatedAttention(architecture.embedding, architecture.attention, architecture.dropout)


ARCHITECTURE = ABMIL
