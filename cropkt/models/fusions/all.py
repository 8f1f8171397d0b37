"""All vectors side by side."""

from torch import Tensor

from cropkt.models.fusion import Fusion


class AllVectors(Fusion):
    """One long vector of all experts'."""

    name = "all"
    label = "all vectors side by side, MLP"
    method = "all_mlp"

    def width(self, n_experts: int, vector: int) -> int:
        """That of all vectors together."""
        return vector * n_experts

    def select(self, vectors: Tensor) -> Tensor:
        """(B, 1, n V)."""
        return vectors.flatten(1).unsqueeze(1)

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The long vector."""
        return embedding.squeeze(1), None


FUSION = AllVectors
