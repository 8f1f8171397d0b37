"""Gated attention over vectors."""

from cropkt.models.fusion import AttentionFusion
from cropkt.models.pooled import GatedAttention


class GatedAttentionFusion(AttentionFusion):
    """As ABMIL pools patches."""

    name = "gated_attention"
    label = "gated attention over vectors"

    def build(self, width: int) -> None:
        """The attention."""
        self.attention_net = GatedAttention(width, self.settings.attention, self.settings.dropout)


FUSION = GatedAttentionFusion
