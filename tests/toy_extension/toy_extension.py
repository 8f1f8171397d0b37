"""One toy of everything that can be added to cropkt, as a package of somebody else would bring it."""

import numpy as np
import torch
from torch import Tensor

from cropkt.factors.facts.distances import Distance, DistanceMatrix
from cropkt.factors.facts.points import CohortPoints
from cropkt.models.fusion import Fusion
from cropkt.models.mil import at_least_float32
from cropkt.models.pooled import PooledMIL
from cropkt.survival.losses import Loss, SurvivalTargets
from cropkt.training.sources import SourcePlan
from cropkt.transfer.baselines import Baseline
from cropkt.transfer.measure_baseline import measure_by_fold
from cropkt.transfer.pair import PairResult, TargetCohort

YEAR = 365.0


class FirstPatch(PooledMIL):
    """The representation is the embedding of a bag's first patch."""

    name = "toy_first"
    label = "first patch only"

    def pool_bags(self, embedding: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        attention = torch.zeros(len(embedding), device=embedding.device)
        attention[offsets[:-1]] = 1.0
        return at_least_float32(embedding[offsets[:-1]]), attention


def _exponential(logits: Tensor, labels: SurvivalTargets, alpha: float, eps: float) -> Tensor:  # noqa: ARG001
    """Negative log-likelihood of a constant hazard exp(logit) per year."""
    years, event = labels.time.float() / YEAR, labels.event.float()
    return (logits[:, 0].exp() * years - event * logits[:, 0]).mean()


LOSS = Loss(
    "toy_exponential",
    label="constant hazard",
    value=_exponential,
    hazard_and_risk=lambda logits: (1 - torch.exp(-logits.exp()), logits[..., 0]),
    intervals=1,
)


class LargestVector(Fusion):
    """The largest entry over experts, one by one."""

    name = "toy_max"
    label = "largest of all vectors"

    def fuse(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        return embedding.amax(dim=1), None


def _shortest_first(held: TargetCohort, plan: SourcePlan) -> PairResult:
    patches = held.bags.lengths.cpu().numpy().astype(float)
    return measure_by_fold("toy_few_patches", held, plan, lambda *_: -patches)


BASELINE = Baseline(
    "toy_few_patches",
    label="few patches, toy",
    trained_on="nothing",
    meaning="fewer patches are worse, whatever the data say",
    measure=_shortest_first,
)


def _between_means(cohorts: CohortPoints) -> DistanceMatrix:
    means = np.stack([of.mean(axis=0) for of in cohorts.projected])
    value = np.square(means[:, None] - means).sum(axis=-1)
    return DistanceMatrix(value, np.full_like(value, np.nan))


DISTANCE = Distance("toy_means", label="distance of means, toy", measure=_between_means)
