"""ROUPKT and what it is compared with, fitted on one outer fold of a target and asked about its test patients once.

Every method gets the same learning patients, the same expert vectors and the same training settings; the router's are
those that were chosen on inner splits, where there was a search. All source models stay frozen, but in "finetune".
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from cropkt.errors import refuse_unknown
from cropkt.models.checkpoint import load_model
from cropkt.models.fusion import FusionSettings
from cropkt.models.fusions import FUSIONS
from cropkt.models.mil import Architecture, MILModel
from cropkt.models.router import Router, RouterSettings
from cropkt.routing.combination import (
    Combination,
    Combined,
    Recipe,
    build_combination,
    fold_training,
    predict_combination,
)
from cropkt.routing.nested import OuterFold
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import train_folds
from cropkt.training.sources import SourcePlan
from cropkt.training.targets import survival_targets
from cropkt.transfer.pair import ResidentTarget


@dataclass(frozen=True)
class RoutingSettings:
    """How ROUPKT and its rivals are set up on a target.

    source_folds: which fold models of a source make its expert vector, their mean where there are several. inner_parts:
    how many inner splits settings are judged on. cross_fitted: see nested.py. router, training: where nothing is tuned.
    released_gru: the published GRU fusion.
    """

    source_folds: tuple[int, ...] = (0,)
    inner_parts: int = 3
    cross_fitted: bool = True
    router: RouterSettings = field(default_factory=RouterSettings)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    released_gru: bool = False


@dataclass(frozen=True)
class Method:
    """A way to learn a target from frozen source models.

    recipe: how it is set up where nothing is tuned: the published settings. tuned_as: the method whose tuned recipe it
    takes. from_source: does it start from the chosen source: "model" all of it, "head" its linear head, "" nothing.
    only_source: is the chosen source's vector all it sees?
    """

    name: str
    label: str
    recipe: Callable[[RoutingSettings, SourcePlan], Recipe]
    tuned_as: str
    from_source: str = ""
    only_source: bool = False


def _roupkt(settings: RoutingSettings, plan: SourcePlan) -> Recipe:  # noqa: ARG001
    return Recipe(settings.router, settings.training)


def _finetune(settings: RoutingSettings, plan: SourcePlan) -> Recipe:
    return Recipe(plan.architecture, settings.training)


def _source_head(settings: RoutingSettings, plan: SourcePlan) -> Recipe:  # noqa: ARG001
    return Recipe(FusionSettings("own", "identity"), settings.training)


def _fusion(name: str) -> Method:
    kind = FUSIONS[name]

    def recipe(settings: RoutingSettings, plan: SourcePlan) -> Recipe:  # noqa: ARG001
        return Recipe(FusionSettings(name, released_gru=settings.released_gru), settings.training)

    method = kind.method or f"fusion_{name}"
    return Method(method, kind.label, recipe, method)


def _by_name(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS = _by_name(
    Method("roupkt", "ROUPKT", _roupkt, "roupkt"),
    Method(
        "roupkt_source_head", "ROUPKT, its head started from the chosen source's", _roupkt, "roupkt", from_source="head"
    ),
    *(_fusion(name) for name in FUSIONS),
    Method("finetune", "chosen source, whole network tuned on the target", _finetune, "finetune", from_source="model"),
    Method(
        "finetune_head",
        "chosen source, only its head tuned on the target",
        _source_head,
        "finetune_head",
        from_source="head",
        only_source=True,
    ),
)
"""What is fitted here, in the order of the tables. Every fusion is one of them."""
METHOD_LABELS = {method.name: method.label for method in METHODS.values()}


@dataclass(frozen=True)
class FittedFold:
    """What all methods say of an outer fold's test patients, and the trained router.

    predictions: a row a method and patient (method, patient_id, fold, risk, hazard). gates: a row a patient and expert
    (patient_id, fold, expert, gate, probability).
    """

    predictions: pd.DataFrame
    gates: pd.DataFrame
    router: Router


def fit_fold(
    plan: SourcePlan,
    held: ResidentTarget,
    outer: OuterFold,
    vectors: Tensor,
    experts: Sequence[str],
    chosen_source: str | None,
    settings: RoutingSettings,
    tuned: Mapping[str, Recipe],
    lenders: SourcePlan | None = None,
) -> FittedFold:
    """Fit every method on `outer.train`, and predict `outer.test` once.

    `vectors` (B, n, V) are those of the final fit, `experts` their names, the target's own first. `chosen_source` was
    chosen on the training patients. `tuned` has the recipes that a search has chosen, by method; what is not there has
    the default ones. lenders: how the sources were made, where that is not the `plan` of the target's own models.
    """
    vectors = vectors.to(held.bags.features.device)
    source = None
    if chosen_source is not None:
        source = _source_model(lenders or plan, chosen_source, settings.source_folds[0])
    place = list(experts).index(chosen_source) if chosen_source is not None else 0
    rows, router, routed = [], None, None
    for method in (*METHODS, *(name for name in tuned if name not in METHODS)):
        known = METHODS.get(method)
        if known and not _can_start(known, source):
            continue
        recipe = tuned.get(known.tuned_as if known else method) or default_recipe(method, settings, plan)
        # The target's "own" vector is the only one that this fusion reads.
        inputs = vectors[:, [place]] if known and known.only_source else vectors
        model, found = fit_method(method, recipe, plan, held, outer, inputs, source)
        rows.append(_rows(method, held, outer, found))
        if method == "roupkt":
            assert isinstance(model, Router)
            router, routed = model, found
    assert router is not None
    assert routed is not None
    return FittedFold(pd.concat(rows, ignore_index=True), _gate_rows(held, outer, experts, routed), router)


def fit_method(
    method: str,
    recipe: Recipe,
    plan: SourcePlan,
    held: ResidentTarget,
    outer: OuterFold,
    vectors: Tensor,
    source_model: MILModel | None = None,
) -> tuple[Combination, Combined]:
    """Fit one method on `outer.train` with `vectors` (B, n, V); the model, and what it says of `outer.test`."""
    vectors = vectors.to(held.bags.features.device)
    model = _start(method, recipe, held, vectors, source_model, plan).to(vectors.device)
    train_folds(
        [fold_training(outer.number, model, held.bags, vectors, outer.train)],
        held.bags,
        survival_targets(held.cohort, held.bags),
        recipe.training,
        seed=plan.seed,
        stream=f"{held.cohort.code}, combining sources",
        precision=plan.precision,
    )
    found = predict_combination(model, held.bags, vectors, outer.test)
    return model, found


def _can_start(method: Method, source_model: MILModel | None) -> bool:
    if method.from_source == "head":
        return source_model is not None and source_model.has_linear_head
    return method.from_source == "" or source_model is not None


def default_recipe(method: str, settings: RoutingSettings, plan: SourcePlan) -> Recipe:
    """How `method`, one of METHODS, is set up where nothing is tuned: the published settings."""
    refuse_unknown("method", method, list(METHODS))
    return METHODS[method].recipe(settings, plan)


def recipe_of(kind: str, values: Mapping[str, Any], settings: RoutingSettings, plan: SourcePlan) -> Recipe:
    """The recipe that `values`, a point of the search space of `kind` (router, fusion, abmil), stand for.

    What the point does not name is as where nothing is tuned.
    """
    training = {name: value for name, value in values.items() if name in TrainingConfig.__dataclass_fields__}
    rest = {name: value for name, value in values.items() if name not in training}
    bases: dict[str, RouterSettings | FusionSettings | Architecture] = {
        "router": settings.router,
        "fusion": FusionSettings(released_gru=settings.released_gru),
        "abmil": plan.architecture,
    }
    refuse_unknown("search space", kind, list(bases))
    base = bases[kind]
    return Recipe(replace(base, **rest), replace(settings.training, **training))


def tuned_methods(tuned: Mapping[str, Recipe]) -> list[str]:
    """The methods whose settings come from a search."""
    known = [name for name, method in METHODS.items() if method.tuned_as in tuned]
    return known + [name for name in tuned if name not in METHODS]


def _source_model(plan: SourcePlan, source: str, fold: int) -> MILModel:
    return load_model(plan.model_path(source, fold), device=plan.device)


def _start(
    method: str, recipe: Recipe, held: ResidentTarget, vectors: Tensor, source_model: MILModel | None, plan: SourcePlan
) -> Combination:
    from_source = METHODS[method].from_source if method in METHODS else ""
    if from_source == "model":
        assert source_model is not None
        return copy.deepcopy(source_model)
    features, intervals = held.bags.features.shape[1], plan.architecture.intervals
    model = build_combination(
        recipe, width=features, vectors=vectors, intervals=intervals, seed=plan.seed, precision=plan.precision
    )
    if from_source == "head":
        assert source_model is not None
        model.get_submodule("pred_head").load_state_dict(source_model.get_submodule("pred_head").state_dict())
    return model


def _rows(method: str, held: ResidentTarget, outer: OuterFold, found: Combined) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": method,
            "patient_id": [held.bags.patients[index] for index in outer.test],
            "fold": outer.number,
            "time": held.time[outer.test],
            "event": held.event[outer.test],
            "risk": found.risk.astype(np.float64),
            "hazard": list(found.hazard),
        }
    )


def _gate_rows(held: ResidentTarget, outer: OuterFold, experts: Sequence[str], found: Combined) -> pd.DataFrame:
    assert found.gates is not None
    assert found.probabilities is not None
    patients = [held.bags.patients[index] for index in outer.test]
    return pd.DataFrame(
        {
            "patient_id": np.repeat(np.asarray(patients, dtype=object), len(experts)),
            "fold": outer.number,
            "expert": list(experts) * len(patients),
            "gate": found.gates.ravel().astype(np.float64),
            "probability": found.probabilities.ravel().astype(np.float64),
        }
    )
