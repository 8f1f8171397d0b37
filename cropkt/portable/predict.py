"""What a library says of new slides: risk, percentile, survival while the cohort is followed, and slides unlike it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.errors import CheckpointError, ConfigError
from cropkt.models.mil import MILModel
from cropkt.models.precision import torch_dtype
from cropkt.models.predict import predict
from cropkt.portable.bundle import ENSEMBLE, Library
from cropkt.portable.new_slides import Block, NewSlide, read_blocks
from cropkt.portable.reference import Reference

YEAR = 365
"""Days."""


@dataclass(frozen=True)
class Question:
    """What is asked: a source (or bundle.ENSEMBLE), in terms of a cohort, survival after 1 to `years` years."""

    source: str
    cohort: str
    years: int = 5


@dataclass(frozen=True)
class Answer:
    """Of B patients. patients: columns patient_id, source, cohort, slides, slides_unlike, risk, percentile,
    survival_year_Y, _lower, _upper, and risk_fold_F of single sources. slides: columns patient_id, slide, cohort,
    patches, distance, limit, unlike."""

    patients: pd.DataFrame
    slides: pd.DataFrame


def members(library: Library, question: Question) -> tuple[str, ...]:
    """The sources that are asked. Raises ConfigError where the library knows nothing of the source in the cohort."""
    library.reference(question.source, question.cohort)
    return library.config.cohorts[question.cohort].members if question.source == ENSEMBLE else (question.source,)


def ask(
    library: Library,
    questions: Sequence[Question],
    slides: Sequence[NewSlide],
    *,
    device: str = "cpu",
    strict: bool = False,
) -> Answer:
    """Read each slide once and answer all questions. Raises ConfigError and InputError with what is wrong."""
    if not questions:
        raise ConfigError("nothing is asked: name a source, or the ensemble")
    sources = dict.fromkeys(source for question in questions for source in members(library, question))
    models = {source: library.models(source, device=device) for source in sources}
    dtype, width = torch_dtype(library.config.precision), library.config.architecture.features
    cohorts = tuple(dict.fromkeys(question.cohort for question in questions))
    patients: dict[Question, list[pd.DataFrame]] = {question: [] for question in questions}
    seen: dict[str, list[pd.DataFrame]] = {cohort: [] for cohort in cohorts}
    for block in read_blocks(slides, width, dtype, strict=strict):
        risk = {source: _risk(of_source, block, device) for source, of_source in models.items()}
        for cohort in cohorts:
            seen[cohort].append(_slide_rows(library, cohort, block))
        for question, parts in patients.items():
            parts.append(_patient_rows(library, question, block, risk, seen[question.cohort][-1]))
    tables = ([part for parts in found.values() for part in parts] for found in (patients, seen))
    return Answer(*(pd.concat(parts, ignore_index=True) for parts in tables))


def _risk(models: Sequence[MILModel], block: Block, device: str) -> np.ndarray:
    """(F, B) float32, as the sweep stores them."""
    return predict(models, block.bags.to(device)).risk


def _patient_rows(
    library: Library, question: Question, block: Block, risk: dict[str, np.ndarray], slides: pd.DataFrame
) -> pd.DataFrame:
    reference = library.reference(question.source, question.cohort)
    standardised = _standardised(library, question, risk)
    of_cohort = slides.groupby("patient_id", sort=False)
    names = list(block.bags.patients)
    columns = {
        "patient_id": names,
        "source": question.source,
        "cohort": question.cohort,
        "slides": of_cohort.size().loc[names].to_numpy(),
        "slides_unlike": of_cohort["unlike"].sum().loc[names].to_numpy(),
        "risk": standardised,
        "percentile": 100 * reference.percentile(standardised),
        **_survival(reference, standardised, question.years),
    }
    if question.source != ENSEMBLE:
        folds = library.folds(question.source)
        columns |= {f"risk_fold_{fold}": row for fold, row in zip(folds, risk[question.source], strict=True)}
    return pd.DataFrame(columns)


def _standardised(library: Library, question: Question, risk: dict[str, np.ndarray]) -> np.ndarray:
    if question.source != ENSEMBLE:
        return library.reference(question.source, question.cohort).standardised(risk[question.source])
    votes = []
    for source in members(library, question):
        reference = library.reference(source, question.cohort)
        votes.append(reference.percentile(reference.standardised(risk[source])))
    return library.reference(ENSEMBLE, question.cohort).standardised(np.mean(votes, axis=0)[None])


def _survival(reference: Reference, standardised: np.ndarray, years: int) -> dict[str, np.ndarray]:
    """Columns of survival and its 95 % interval, NaN beyond the cohort's follow-up or without a calibration."""
    days = YEAR * np.arange(1, years + 1)
    curves = np.full((3, len(standardised), years), np.nan)
    if reference.calibration is not None:
        lower, upper = reference.calibration.interval(standardised, days)
        curves = np.stack([reference.calibration.survival(standardised, days), lower, upper])
    ends = ("", "_lower", "_upper")
    return {f"survival_year_{year + 1}{end}": curves[n][:, year] for year in range(years) for n, end in enumerate(ends)}


def _slide_rows(library: Library, code: str, block: Block) -> pd.DataFrame:
    seen = library.seen(code)
    if seen is not None and seen.mean.shape != block.means.shape[1:]:
        raise CheckpointError(f"{library.folder}: its statistics have {len(seen.mean)} features; export it again")
    distance = np.full(len(block.slides), np.nan) if seen is None else seen.distance(block.means)
    limit = np.nan if seen is None else seen.limit
    return pd.DataFrame(
        {
            "patient_id": [new.patient for new in block.slides],
            "slide": [new.slide for new in block.slides],
            "cohort": code,
            "patches": block.patches,
            "distance": distance,
            "limit": limit,
            "unlike": distance > limit,
        }
    )
