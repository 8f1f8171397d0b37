"""A transformer layer over the vectors."""

from torch import Tensor, nn

from cropkt.models.fusion import Fusion

HEADS = 4


class TransformerFusion(Fusion):
    """The mean of what one layer of self-attention between the vectors makes of them."""

    name = "transformer"
    label = "transformer over vectors"

    def build(self, width: int) -> None:
        """The layer."""
        layer = nn.TransformerEncoderLayer(
            width, HEADS, dim_feedforward=width, dropout=self.settings.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The mean over experts."""
        return self.transformer(embedding).mean(dim=1), None


FUSION = TransformerFusion
