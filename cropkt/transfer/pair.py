"""One pair: the fold models of a source cohort, or a baseline, measured on the test patients of a target cohort."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cropkt.data.bags import Bags, PatientBags, passing_slides
from cropkt.data.study import Cohort
from cropkt.files import digest
from cropkt.models.predict import Predictions, predict
from cropkt.survival.concordance import FoldScores, confidence_interval, p_value_against, score_all, score_folds
from cropkt.survival.confounders import score_within
from cropkt.training.sources import SourceModels
from cropkt.transfer.judgement.survival import SurvivalQuality, survival_quality
from cropkt.transfer.protocol import fold_tested_in, may_score, mode_of
from cropkt.transfer.rows import FoldRow, PairRow, Status

TRANSFER_VERSION = 2
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
    knows_target: whether models have learnt from patients of the target, each from other folds of it: patients are then
    compared within test folds only, and there are no survival probabilities. passing_slides: those of SourceModels.
    """

    name: str
    architecture: str
    folds: tuple[int, ...]
    risk: np.ndarray
    valid: np.ndarray
    hazard: np.ndarray | None = None
    representation: np.ndarray | None = None
    knows_target: bool = True
    passing_slides: int = 0


@dataclass(frozen=True)
class PairResult:
    """What a pair measured: the fold rows (transfer.parquet), the pair's summary (pairs.parquet), the predictions.

    predictions, and representation, (M, B, E) bag vectors, are None for a baseline that has none.
    """

    folds: tuple[FoldRow, ...]
    pair: PairRow
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


def pair_fingerprint(source_fingerprint: str, cohort: Cohort, precision: str) -> str:
    """Changes whenever the models, the target's data or the way of measuring change."""
    return digest(TRANSFER_VERSION, source_fingerprint, cohort.fingerprint, precision)


def measure_pair(source_models: SourceModels, held: TargetCohort) -> PairResult:
    """Score every patient of `held` that the protocol allows with every fold model of `source_models`."""
    known = held.known.get(source_models.cohort)
    predictions = predict(source_models.models, held.bags) if known is None else known
    valid = may_score(
        source_models.cohort,
        source_models.folds,
        source_models.seen,
        held.cohort.code,
        held.bags.patients,
        held.tested_in,
    )
    return pair_result(
        Scored(
            source_models.cohort,
            source_models.models[0].architecture.name,
            source_models.folds,
            predictions.risk,
            valid,
            predictions.hazard,
            predictions.representation,
            knows_target=source_models.cohort == held.cohort.code,
            passing_slides=source_models.passing_slides,
        ),
        held,
    )


def pair_result(scored: Scored, held: TargetCohort) -> PairResult:
    """C-indices of `scored` on `held`, by fold and in summary."""
    scores = score_folds(held.time, held.event, scored.risk, held.tested_in, scored.valid)
    return PairResult(
        _fold_rows(scored, held, scores),
        _summary(scored, held, scores),
        _prediction_table(scored, held),
        scored.representation,
    )


def _fold_rows(scored: Scored, held: TargetCohort, scores: FoldScores) -> tuple[FoldRow, ...]:
    rows = []
    for (m, target_fold), cell in sorted(scores.cells.items()):
        patients = scored.valid[m] & (held.tested_in == target_fold)
        rows.append(
            FoldRow(
                source=scored.name,
                target=held.cohort.code,
                encoder=held.cohort.encoder.name,
                architecture=scored.architecture,
                mode=mode_of(scored.name, held.cohort.code),
                source_fold=scored.folds[m],
                target_fold=target_fold,
                c_index=cell.c_index,
                standard_error=cell.standard_error,
                n_patients=int(patients.sum()),
                n_events=int(held.event[patients].sum()),
                n_comparable=cell.comparable,
                status=Status.OK if cell.comparable else Status(cell.reason),
            )
        )
    return tuple(rows)


def _summary(scored: Scored, held: TargetCohort, scores: FoldScores) -> PairRow:
    patients = scored.valid.any(axis=0)
    within, mean = scores.pooled, scores.mean
    found = within if scored.knows_target else score_all(held.time, held.event, scored.risk, scored.valid)
    lower, upper = confidence_interval(found.c_index, found.standard_error, found.events)
    return PairRow(
        source=scored.name,
        target=held.cohort.code,
        encoder=held.cohort.encoder.name,
        architecture=scored.architecture,
        mode=mode_of(scored.name, held.cohort.code),
        c_index_mean=mean.c_index,
        c_index_mean_standard_error=mean.standard_error,
        c_index_pooled=found.c_index,
        standard_error=found.standard_error,
        interval_lower=lower,
        interval_upper=upper,
        p_chance=p_value_against(found.c_index, found.standard_error, found.events),
        c_index_within_folds=within.c_index,
        standard_error_within_folds=within.standard_error,
        c_index_within_projects=_within_projects(scored, held),
        n_patients=int(patients.sum()),
        n_events=int(held.event[patients].sum()),
        n_events_compared=found.events,
        n_comparable=found.comparable,
        folds_used=mean.cells_used,
        skipped_slides=len(held.bags.skipped),
        passing_slides=len(passing_slides(held.cohort, held.bags)) + scored.passing_slides,
        status=Status.OK if found.comparable else Status.NO_COMPARABLE_PAIR,
        **vars(_survival_quality(scored, held)),
    )


def _within_projects(scored: Scored, held: TargetCohort) -> float:
    projects = held.cohort.labels.loc[list(held.bags.patients), "project"]
    compared = held.tested_in if scored.knows_target else np.zeros_like(held.tested_in)
    return score_within(held.time, held.event, scored.risk, compared, scored.valid, projects).c_index


def _survival_quality(scored: Scored, held: TargetCohort) -> SurvivalQuality:
    if scored.knows_target:
        return SurvivalQuality()
    risk = np.where(scored.valid, scored.risk, np.nan)
    train = [held.bags.indices_of(fold.train) for fold in held.cohort.folds]
    return survival_quality(held.time, held.event, risk, held.tested_in, train)


def _prediction_table(scored: Scored, held: TargetCohort) -> pd.DataFrame:
    model, patient = np.nonzero(scored.valid)
    return pd.DataFrame(
        {
            "source": scored.name,
            "target": held.cohort.code,
            "source_fold": np.asarray(scored.folds)[model],
            "target_fold": held.tested_in[patient],
            "patient_id": np.asarray(held.bags.patients, dtype=object)[patient],
            "time": held.time[patient],
            "event": held.event[patient],
            "risk": scored.risk[model, patient],
            "hazard": None if scored.hazard is None else list(scored.hazard[model, patient]),
        }
    )
