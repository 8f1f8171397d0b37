"""Networks that learning curves need: which targets pan-cancer networks leave out together, and source models."""

from collections.abc import Sequence

from cropkt.experiments.run import Run
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import MILModel


def left_out_together(targets: Sequence[str], size: int) -> dict[str, tuple[str, ...]]:
    """By target, the targets that its networks leave out: groups of at most `size`, in the order of `targets`."""
    groups = [tuple(targets[start : start + size]) for start in range(0, len(targets), size)]
    return {target: group for group in groups for target in group}


def source_models_of(run: Run, codes: Sequence[str]) -> dict[str, MILModel]:
    """The source model of the run's first fold, for each of the cohorts `codes`."""
    plan = run.plan
    return {code: load_model(plan.model_path(code, run.folds[0]), device=plan.device) for code in codes}
