"""The source architecture with random weights, several of them. Not chance: features carry signal of their own."""

from functools import lru_cache

from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import MILModel
from cropkt.seeds import named_seed
from cropkt.training.sources import SourceModels, SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.pair import PairResult, TargetCohort, measure_pair

RANDOM_MODELS = 10


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    return measure_pair(_models(held.cohort.code, plan), held)


def _models(target: str, plan: SourcePlan) -> SourceModels:  # noqa: ARG001
    return SourceModels("random", tuple(range(RANDOM_MODELS)), _untrained(plan), ((),) * RANDOM_MODELS, "")


@lru_cache(maxsize=1)
def _untrained(plan: SourcePlan) -> tuple[MILModel, ...]:
    """Made once in a process, for each part of each target: drawing weights takes as long as scoring a few slides."""
    return tuple(_start(plan, number) for number in range(RANDOM_MODELS))


def _start(plan: SourcePlan, number: int) -> MILModel:
    model = build_null_model(plan.architecture, named_seed(plan.seed, "random baseline", number))
    model.trained_with = plan.trained_with
    return model.to(plan.device).eval()


BASELINE = Baseline(
    "random",
    label="random weights",
    trained_on="nothing",
    meaning=(
        "the same architecture untrained, from other starts than the sources'; features carry signal of their own, so "
        "this is not chance. A pair is compared with their mean; how far they lie apart says how much a start can do"
    ),
    measure=_measure,
    role=Role.COMPARED,
    learns=False,
    models=_models,
)
