"""cropkt: cross-cancer prognosis knowledge transfer from whole-slide images.

What a notebook needs is here by name, and is imported when it is first asked for, so that `import cropkt` and `--help`
are instant. docs/architecture.md shows the house behind it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cropkt.version import VERSION

if TYPE_CHECKING:
    from cropkt.data.bags import read_bags
    from cropkt.data.study import open_study
    from cropkt.models.mil import Architecture
    from cropkt.report.read import choose_results as open_results
    from cropkt.simulation.study import simulate_study
    from cropkt.training.config import TrainingConfig
    from cropkt.training.sources import SourcePlan, load_source_models, store_null_model, train_cohort
    from cropkt.transfer.measure_baseline import measure_baseline
    from cropkt.transfer.pair import hold_target, measure_pair

__all__ = [
    "Architecture",
    "SourcePlan",
    "TrainingConfig",
    "hold_target",
    "load_source_models",
    "measure_baseline",
    "measure_pair",
    "open_results",
    "open_study",
    "read_bags",
    "simulate_study",
    "store_null_model",
    "train_cohort",
]
__version__ = VERSION

_PLACES = {
    "Architecture": "cropkt.models.mil:Architecture",
    "SourcePlan": "cropkt.training.sources:SourcePlan",
    "TrainingConfig": "cropkt.training.config:TrainingConfig",
    "hold_target": "cropkt.transfer.pair:hold_target",
    "load_source_models": "cropkt.training.sources:load_source_models",
    "measure_baseline": "cropkt.transfer.measure_baseline:measure_baseline",
    "measure_pair": "cropkt.transfer.pair:measure_pair",
    "open_results": "cropkt.report.read:choose_results",
    "open_study": "cropkt.data.study:open_study",
    "read_bags": "cropkt.data.bags:read_bags",
    "simulate_study": "cropkt.simulation.study:simulate_study",
    "store_null_model": "cropkt.training.sources:store_null_model",
    "train_cohort": "cropkt.training.sources:train_cohort",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"cropkt has no {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute)
