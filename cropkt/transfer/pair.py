"""One pair: the fold models of a source cohort, or a baseline, measured on the test patients of a target cohort."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cropkt.data.bags import Bags, PatientBags
from cropkt.data.study import Cohort
from cropkt.files import digest
from cropkt.models.predict import Predictions, predict
from cropkt.survival.concordance import FoldScores, confidence_interval, p_value_against, score_folds
from cropkt.training.sources import SourceModels
from cropkt.transfer.protocol import fold_tested_in, may_score, mode_of

TRANSFER_VERSION = 1
"""Raised when the code changes what a pair of the same models and patients measures."""


@dataclass(frozen=True)
class TargetCohort:
    """A target ready to be scored: its bags, and labels in bag order; `tested_in` (B,) is each patient's test fold.

    `known`: predictions that a pass over the bags has made already, by source or baseline; they are not made again.
    """

    cohort: Cohort
    bags: PatientBags
    time: np.ndarray
    event: np.ndarray
    tested_in: np.ndarray
    known: Mapping[str, Predictions] = field(default_factory=dict)


@dataclass(frozen=True)
class ResidentTarget(TargetCohort):
    """A target whose bags are held in memory, as training on it needs them."""

    bags: Bags


@dataclass(frozen=True)
class Scored:
    """What the M models of a source, or of a baseline, say of a target's B patients.

    name: the source cohort or the baseline. folds: the source fold of each model. risk: (M, B), a higher risk means an
    earlier event. valid: (M, B) bool, who may be scored. hazard (M, B, K) and representation (M, B, E) where there are.
    """

    name: str
    architecture: str
    folds: tuple[int, ...]
    risk: np.ndarray
    valid: np.ndarray
    hazard: np.ndarray | None = None
    representation: np.ndarray | None = None


@dataclass(frozen=True)
class PairResult:
    """What a pair measured: the fold rows (transfer.parquet), the pair's summary (pairs.parquet), the predictions.

    predictions, and representation, (M, B, E) bag vectors, are None for a baseline that has none.
    """

    folds: list[dict[str, Any]]
    pair: dict[str, Any]
    predictions: pd.DataFrame | None
    representation: np.ndarray | None


def hold_target(cohort: Cohort, bags: Bags) -> ResidentTarget:
    """Labels of `cohort` in the order of `bags`. Patients whose slides were all left out are not among them."""
    return ResidentTarget(cohort, bags, *_labels(cohort, bags))


def scored_target(cohort: Cohort, bags: PatientBags, known: Mapping[str, Predictions]) -> TargetCohort:
    """As `hold_target`, for bags that a pass has gone over and that need not be held."""
    return TargetCohort(cohort, bags, *_labels(cohort, bags), known)


def _labels(cohort: Cohort, bags: PatientBags) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = cohort.labels.loc[list(bags.patients)]
    return (
        rows["time"].to_numpy(dtype=np.float64),
        rows["event"].to_numpy(dtype=np.int64),
        fold_tested_in(bags.patients, cohort.folds),
    )


def pair_fingerprint(source_fingerprint: str, target: Cohort, precision: str) -> str:
    """Changes whenever the models, the target's data or the way of measuring change."""
    return digest(TRANSFER_VERSION, source_fingerprint, target.fingerprint, precision)


def measure_pair(source: SourceModels, target: TargetCohort) -> PairResult:
    """Score every patient of `target` that the protocol allows with every fold model of `source`."""
    known = target.known.get(source.cohort)
    predictions = predict(source.models, target.bags) if known is None else known
    valid = may_score(
        source.cohort, source.folds, source.seen, target.cohort.code, target.bags.patients, target.tested_in
    )
    return pair_result(
        Scored(
            source.cohort,
            source.models[0].architecture.name,
            source.folds,
            predictions.risk,
            valid,
            predictions.hazard,
            predictions.representation,
        ),
        target,
    )


def pair_result(scored: Scored, target: TargetCohort) -> PairResult:
    """C-indices of `scored` on `target`, by fold and in summary."""
    scores = score_folds(target.time, target.event, scored.risk, target.tested_in, scored.valid)
    identity = {
        "source": scored.name,
        "target": target.cohort.code,
        "encoder": target.cohort.encoder.name,
        "architecture": scored.architecture,
        "mode": mode_of(scored.name, target.cohort.code),
    }
    return PairResult(
        _fold_rows(identity, scored, target, scores),
        {**identity, **_summary(target, scored.valid, scores)},
        _prediction_table(scored, target),
        scored.representation,
    )


def _fold_rows(
    identity: dict[str, Any], scored: Scored, target: TargetCohort, scores: FoldScores
) -> list[dict[str, Any]]:
    rows = []
    for (m, target_fold), cell in sorted(scores.cells.items()):
        patients = scored.valid[m] & (target.tested_in == target_fold)
        rows.append(
            {
                **identity,
                "source_fold": scored.folds[m],
                "target_fold": target_fold,
                "c_index": cell.c_index,
                "standard_error": cell.standard_error,
                "n_patients": int(patients.sum()),
                "n_events": int(target.event[patients].sum()),
                "n_comparable": cell.comparable,
                "status": "ok" if cell.comparable else cell.reason,
            }
        )
    return rows


def _summary(target: TargetCohort, valid: np.ndarray, scores: FoldScores) -> dict[str, Any]:
    scored = valid.any(axis=0)
    pooled, mean = scores.pooled, scores.mean
    events = int(target.event[scored].sum())
    lower, upper = confidence_interval(pooled.c_index, pooled.standard_error, events)
    return {
        "c_index_mean": mean.c_index,
        "c_index_mean_standard_error": mean.standard_error,
        "c_index_pooled": pooled.c_index,
        "standard_error": pooled.standard_error,
        "interval_lower": lower,
        "interval_upper": upper,
        "p_chance": p_value_against(pooled.c_index, pooled.standard_error, events),
        "n_patients": int(scored.sum()),
        "n_events": events,
        "n_comparable": pooled.comparable,
        "folds_used": mean.cells_used,
        "skipped_slides": len(target.bags.skipped),
        "status": "ok" if pooled.comparable else "no comparable pair",
    }


def _prediction_table(scored: Scored, target: TargetCohort) -> pd.DataFrame:
    model, patient = np.nonzero(scored.valid)
    return pd.DataFrame(
        {
            "source": scored.name,
            "target": target.cohort.code,
            "source_fold": np.asarray(scored.folds)[model],
            "target_fold": target.tested_in[patient],
            "patient_id": np.asarray(target.bags.patients, dtype=object)[patient],
            "time": target.time[patient],
            "event": target.event[patient],
            "risk": scored.risk[model, patient],
            "hazard": None if scored.hazard is None else list(scored.hazard[model, patient]),
        }
    )
