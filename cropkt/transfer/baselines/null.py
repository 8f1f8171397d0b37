"""The common start of all source models, before any training: the architecture, the seed, and no cohort."""

from cropkt.models.checkpoint import load_model
from cropkt.training.sources import SourceModels, SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.pair import PairResult, TargetCohort, measure_pair


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    return measure_pair(_models(held.cohort.code, plan), held)


def _models(target: str, plan: SourcePlan) -> SourceModels:  # noqa: ARG001
    """Raises CheckpointError when the start is not stored, which it is before any source model is trained."""
    start = load_model(plan.null_path(), device=plan.device)
    return SourceModels("null", (0,), (start,), ((),), "")


BASELINE = Baseline(
    "null",
    label="own untrained start",
    trained_on="nothing",
    meaning=(
        "the stored null model, in which the training of every source started; it ranks patients by whatever its "
        "random weights make of the features, and what a source does beyond it has been learnt"
    ),
    measure=_measure,
    role=Role.START,
    learns=False,
    models=_models,
)
