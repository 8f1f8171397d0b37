"""Routers of a finished run fitted again, with the settings its searches chose, on other expert vectors.

It answers "what would it bring?" without another search. It is as honest as the run: settings were chosen without
the test patients, though for other vectors.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cropkt.data.bags import read_bags
from cropkt.data.study import Study
from cropkt.errors import CheckpointError
from cropkt.models.precision import torch_dtype
from cropkt.routing.cards import read_router_card
from cropkt.routing.methods import RoutingSettings, fit_method, recipe_of
from cropkt.routing.nested import expert_vectors, left_out_parts, outer_fold, own_vectors
from cropkt.routing.store import RoutingFolder, read_source_vectors
from cropkt.survival.concordance import score_folds
from cropkt.training.cards import read_null_card
from cropkt.training.sources import SourcePlan
from cropkt.transfer.pair import ResidentTarget, hold_target
from cropkt.transfer.store import ResultsFolder


def refit_on_folds(study: Study, results: ResultsFolder, target: str, source_folds: Sequence[int]) -> dict[str, float]:
    """Pooled C-index of the target's stored routers ("stored") and of routers on the mean vectors of the sources'
    `source_folds` ("refitted"), on the same test patients.

    Raises CheckpointError when the target has not been routed in all of its folds.
    """
    plan = _stored_plan(results)
    cohort = study.cohorts[target]
    held = hold_target(cohort, read_bags(cohort, dtype=torch_dtype(plan.precision)))
    folder = RoutingFolder(results, target)
    risk = {name: np.full((1, len(held.bags)), np.nan) for name in ("stored", "refitted")}
    for fold in range(len(cohort.folds)):
        record = folder.record(fold)
        card = read_router_card(folder.router_path(fold))
        if record is None or card is None:
            raise CheckpointError(f"{folder.path}: fold {fold} has no router; run scripts/tune_router.py first")
        settings = RoutingSettings(
            training=plan.training, inner_parts=record.inner_parts, cross_fitted=record.cross_fitted
        )
        outer = outer_fold(held, fold, settings.inner_parts, plan.seed)
        sources = [expert.cohort for expert in card.experts[1:]]
        vectors = expert_vectors(
            own_vectors(plan, held, outer, left_out_parts(outer, cross_fitted=settings.cross_fitted, searched=False)),
            read_source_vectors(results, target, held.bags.patients, sources, source_folds),
            outer,
            None,
            cross_fitted=settings.cross_fitted,
        )
        recipe = recipe_of("router", dict(record.chosen.get("router", {})), settings, plan)
        _, found = fit_method("roupkt", recipe, plan, held, outer, vectors)
        risk["refitted"][0, outer.test] = found.risk
        risk["stored"][0, outer.test] = _stored_risk(folder, fold, held, outer.test)
    return {name: _pooled(held, values) for name, values in risk.items()}


def _stored_plan(results: ResultsFolder) -> SourcePlan:
    card = read_null_card(results.models.null)
    if card is None:
        raise CheckpointError(f"{results.models.path}: no source models here")
    return SourcePlan(results.models.path, card.architecture, card.training, card.seed, card.precision)


def _stored_risk(routing: RoutingFolder, fold: int, held: ResidentTarget, test: np.ndarray) -> np.ndarray:
    stored = pd.read_parquet(routing.predictions_path(fold), columns=["method", "patient_id", "risk"])
    risk = stored[stored["method"] == "roupkt"].set_index("patient_id")["risk"]
    return risk.loc[[held.bags.patients[index] for index in test]].to_numpy(dtype=float)


def _pooled(held: ResidentTarget, risk: np.ndarray) -> float:
    return score_folds(held.time, held.event, risk, held.tested_in, np.isfinite(risk)).pooled.c_index
