"""The target's own vector alone."""

from torch import Tensor

from cropkt.models.fusion import Fusion


class OwnVector(Fusion):
    """No fusion: the first expert, which is the target's own model."""

    name = "own"
    label = "own model's vector, MLP"
    method = "own_mlp"

    def select(self, vectors: Tensor) -> Tensor:
        """The first vector."""
        return vectors[:, :1]

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vector itself."""
        return embedding.squeeze(1), None


FUSION = OwnVector
