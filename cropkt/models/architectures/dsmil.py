"""DSMIL: two streams, the highest-scoring patch and attention by likeness to it, for each output (Li et al. 2021,
arXiv 2011.08939, eqs. 1 to 7).

For output k the critical patch is the one with the highest instance score c_k. Patch p weighs
softmax_p(q_p . q_critical / sqrt(E)), the bag embedding b_k (E,) is the weighted mean of the values v, and a
convolution over all K embeddings gives the bag's logits. The logits are half these, half the critical patches' scores.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.models.layers.pooling import bags_of
from cropkt.models.layers.running import RunningMaximum, RunningSoftmax
from cropkt.models.mil import Accumulator, Architecture, BagOutput, MILModel, at_least_float32


class InstanceClassifier(nn.Module):
    """The first stream: a score of each patch for each output, (P, D) to (P, K)."""

    def __init__(self, width: int, intervals: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, intervals))


class BagClassifier(nn.Module):
    """The second stream: queries, values, and the convolution that reads the K bag embeddings."""

    def __init__(self, width: int, embedding: int, intervals: int, dropout: float) -> None:
        super().__init__()
        self.q = nn.Linear(width, embedding)
        self.v = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, embedding))
        self.fcc = nn.Conv1d(intervals, intervals, embedding)


class _DSMILParts(Accumulator):
    """Two walks: the first finds the critical patches and their queries, the second weighs patches by likeness to them.

    A weight needs the critical query, which is known only when all patches have been seen.
    """

    passes = 2

    def __init__(self, model: "DSMIL") -> None:
        self._model = model

    def begin(self, walk: int) -> None:
        self._walk = walk
        if walk == 0:
            self._critical = RunningMaximum()
        self._mean = RunningSoftmax()

    def add(self, product: Tensor, features: Tensor) -> None:
        with torch.autocast(product.device.type, enabled=False):
            query, value = at_least_float32(product).chunk(2, dim=1)
            if self._walk == 0:
                self._critical.add(self._model.i_classifier.fc(at_least_float32(features)), query)
                return
            assert self._critical.rows is not None  # the first walk has seen a patch
            self._mean.add(query @ self._critical.rows.T / query.shape[1] ** 0.5, value)

    def finish(self) -> tuple[Tensor, Tensor]:
        highest = self._critical.values
        assert highest is not None  # the first walk has seen a patch
        with torch.autocast(highest.device.type, enabled=False):
            embedding = self._mean.mean()
            logits = (self._model.b_classifier.fcc(embedding[None]).squeeze(-1)[0] + highest) / 2
            return logits, embedding.mean(dim=0)


class DSMIL(MILModel):
    """The representation is the mean of the K bag embeddings, the attention the mean of their K weightings.

    The published code has no single vector before its last layer, which reads K of them.
    """

    name = "dsmil"
    label = "critical patch and attention by likeness to it"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        features, intervals = architecture.features, architecture.intervals
        self.i_classifier = InstanceClassifier(features, intervals)
        self.b_classifier = BagClassifier(features, architecture.embedding, intervals, architecture.dropout)

    def forward(self, features: Tensor, offsets: Tensor) -> BagOutput:
        """As MILModel says. Dropout acts on what the values read, so in training they are a product of their own."""
        if not self.training:
            return super().forward(features, offsets)
        product = torch.cat([self.b_classifier.q(features), self.b_classifier.v(features)], dim=1)
        return self.from_patch_layer(product, features, offsets)

    def accumulator(self) -> Accumulator:
        """Critical patches first, then the attention they ask for."""
        return _DSMILParts(self)

    def patch_layer(self) -> tuple[Tensor, Tensor]:
        """Queries and values side by side; W = 2 E."""
        layers = ("b_classifier.q", "b_classifier.v.1")
        return (
            torch.cat([self.get_parameter(f"{layer}.weight") for layer in layers]),
            torch.cat([self.get_parameter(f"{layer}.bias") for layer in layers]),
        )

    def from_patch_layer(self, product: Tensor, features: Tensor, offsets: Tensor) -> BagOutput:
        """Critical patches, attention, bag embeddings and logits.

        The instance scores are a head's, 3 % of the work, and choose one patch of thousands: always in float32.
        """
        embeddings, highest, attention = [], [], []
        with torch.autocast(product.device.type, enabled=False):
            product, scores = at_least_float32(product), self.i_classifier.fc(at_least_float32(features))
            for patches, score in zip(bags_of(product, offsets), bags_of(scores, offsets), strict=True):
                query, value = patches.chunk(2, dim=1)
                top = score.max(dim=0)
                weight = F.softmax(query @ query[top.indices].T / query.shape[1] ** 0.5, dim=0)
                embeddings.append(weight.T @ value)
                highest.append(top.values)
                attention.append(weight.mean(dim=1))
            embedding = torch.stack(embeddings)
            logits = (self.b_classifier.fcc(embedding).squeeze(-1) + torch.stack(highest)) / 2
            return BagOutput(logits, embedding.mean(dim=1), torch.cat(attention))


ARCHITECTURE = DSMIL
