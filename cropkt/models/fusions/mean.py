"""The mean of all vectors."""

from torch import Tensor

from cropkt.models.fusion import Fusion


class MeanFusion(Fusion):
    """Every expert weighs the same."""

    name = "mean"
    label = "mean of all vectors, MLP"

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The mean over experts."""
        return embedding.mean(dim=1), None


FUSION = MeanFusion
