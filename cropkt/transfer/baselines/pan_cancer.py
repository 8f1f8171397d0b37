"""The other cohorts as one source: networks trained on them together, stratified by cohort (training/pan_cancer.py).

They are trained for `cropkt sweep --pan-cancer` before anything is measured.
"""

from cropkt.training.config import PAN_CANCER
from cropkt.training.pan_cancer_models import load_pan_cancer, weights_without
from cropkt.training.sources import SourceModels, SourcePlan
from cropkt.transfer.baselines import Baseline, Role
from cropkt.transfer.pair import PairResult, TargetCohort, measure_pair


def _measure(held: TargetCohort, plan: SourcePlan) -> PairResult:
    return measure_pair(_models(held.cohort.code, plan), held)


def _models(target: str, plan: SourcePlan) -> SourceModels:
    """Raises CheckpointError when they are not stored."""
    return load_pan_cancer(plan, weights_without(plan, target))


BASELINE = Baseline(
    PAN_CANCER,
    label="pan-cancer networks",
    trained_on="all cohorts that share no patient with the target",
    meaning=(
        "two networks that the other cohorts have trained together, compared within each cohort only and each cohort "
        "weighing the same; what knowing many cancers at once is worth. Measured with --pan-cancer"
    ),
    measure=_measure,
    role=Role.SOURCE,
    learns=False,
    models=_models,
)
