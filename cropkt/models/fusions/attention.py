"""Attention over vectors."""

from cropkt.models.fusion import AttentionFusion
from cropkt.models.pooled import Attention


class UngatedAttentionFusion(AttentionFusion):
    """As ABMIL pools patches, without a gate."""

    name = "attention"
    label = "attention over vectors"

    def build(self, width: int) -> None:
        """The attention."""
        self.attention_net = Attention(width, self.settings.attention, self.settings.dropout)


FUSION = UngatedAttentionFusion
