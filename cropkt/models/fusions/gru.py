"""A GRU over the vectors, and the published one."""

import torch
from torch import Tensor, nn

from cropkt.models.fusion import Fusion


class GRUFusion(Fusion):
    """The last state of a GRU that reads the vectors in the order of the experts."""

    name = "gru"
    label = "GRU over vectors"

    def build(self, width: int) -> None:
        """The GRU; the published one where the settings ask for it."""
        self.gru = ReleasedGRU(width) if self.settings.released_gru else nn.GRU(width, width, batch_first=True)

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last state."""
        return self.gru(embedding)[1][-1], None


class ReleasedGRU(nn.Module):
    """What is left of the published GRU when every sequence has length one: z * (n's linear part) of the last expert.

    The hidden state starts at 0, its candidate has no tanh and no reset gate.
    """

    def __init__(self, vector: int) -> None:
        super().__init__()
        cell = nn.Module()
        reach = vector**-0.5
        for name, shape in (("weight_ih", (vector, 3 * vector)), ("weight_hh", (vector, 3 * vector))):
            cell.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-reach, reach)))
        for name in ("bias_ih", "bias_hh"):
            cell.register_parameter(name, nn.Parameter(torch.zeros(3 * vector)))
        self.net = nn.ModuleList([cell])

    def forward(self, embedding: Tensor) -> tuple[None, Tensor]:
        """(B, n, V); the second of what is returned is the last state, (1, B, V), as torch's GRU does."""
        cell = self.net[0]
        gates = embedding[:, -1] @ cell.get_parameter("weight_ih")
        _, update, candidate = (gates + cell.get_parameter("bias_ih") + cell.get_parameter("bias_hh")).chunk(3, dim=-1)
        return None, (update.sigmoid() * candidate).unsqueeze(0)


FUSION = GRUFusion
