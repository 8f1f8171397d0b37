"""From whom a cohort of the study, or a folder of slides without outcomes, would borrow."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cropkt.borrowing.advice.helps import probability_of_gain
from cropkt.borrowing.advice.recommendation import Expectation, advice, expect, lender_weights, recommendation_path
from cropkt.borrowing.fit import fit_target
from cropkt.borrowing.folds import Split, borrowed_risks
from cropkt.borrowing.lenders import CohortPatients, Lenders, lender_codes
from cropkt.borrowing.means import fold_splits
from cropkt.data.bags import read_slides
from cropkt.errors import ConfigError, InputError
from cropkt.experiments.borrowing.config import RecommendConfig
from cropkt.experiments.borrowing.means import CohortShelf, measure_missing_means
from cropkt.experiments.cluster import session
from cropkt.experiments.command import DONE
from cropkt.experiments.run import Run, claim_results, prepare
from cropkt.experiments.workspace import workspace
from cropkt.files import write_json
from cropkt.report.page import remake_report
from cropkt.report.sections.recommendation import Recommendation, section_body, sentences, text
from cropkt.report.sections.store import store_section
from cropkt.rivals.comparison import Crossing, crossing
from cropkt.rivals.rows import CURVE
from cropkt.survival.concordance import CombinedConcordance, score_all, score_folds
from cropkt.transfer.columns import read_table

LEAST_EVENTS = 10
"""A cohort with fewer events says too little about the C-index to expect."""
LEAST_TARGETS = 5
"""A stored learning curve of fewer targets says nothing about where own models take over."""
AGAINST = "own_ridge"


def recommend(config: RecommendConfig, slides: Sequence[tuple[str, Path]]) -> int:
    """Recommend for the study's cohort `config.asked.target`, or for `slides` (patient, file), if there are any."""
    name = config.asked.target.lower()
    cohort = None if slides else name
    with session(config.cluster) as cluster:
        run = prepare(config, cluster)
        if cohort is not None and cohort not in run.cohorts:
            raise ConfigError(f"--target {cohort}: study {run.study.name} has {', '.join(run.cohorts)}")
        with workspace(run.results) as scratch:
            claim_results(run)
            measure_missing_means(run, list(run.cohorts), cluster, scratch)
            found = _recommendation(run, slides, name, cohort)
            _leave(run, found)
    return DONE


def _recommendation(run: Run, slides: Sequence[tuple[str, Path]], name: str, code: str | None) -> Recommendation:
    shelf = CohortShelf(run)
    if code is None:
        target, splits, codes = _unlabelled(run, slides, name), [], list(run.sources)
    else:
        target = shelf.patients(code)
        splits = fold_splits(run.cohorts[code], shelf.means(code).patients)
        codes = lender_codes(run.cohorts, code, run.sources)
    lenders = shelf.lenders(codes)
    fit = fit_target(lenders.model, lenders.axes, target.features, target.time, target.event)
    events = int(target.event.sum())
    expected = _expected(shelf, codes, lenders, target, splits)
    needed = _needed(run)
    weights = tuple(lender_weights(lenders, target.features, seed=run.plan.seed))
    probability = probability_of_gain(fit.probability, fit.signal) if events else np.nan
    said = advice(
        probability=probability,
        lending=len(lenders.model.summaries),
        events=events,
        needed=needed.events if needed else np.nan,
        expected=expected,
    )
    return Recommendation(name, len(target.time), events, probability, weights, expected, needed, said)


def _unlabelled(run: Run, slides: Sequence[tuple[str, Path]], name: str) -> CohortPatients:
    """Mean features of slides without outcomes, a patient at a time."""
    by_patient: dict[str, list[tuple[str, Path]]] = {}
    for patient, path in slides:
        by_patient.setdefault(patient, []).append((patient, path))
    width = run.study.encoder.dim
    bags = [read_slides(own, width, strict=run.plan.strict) for own in by_patient.values()]
    means = np.stack([bag.features.double().mean(dim=0).numpy() for bag in bags])
    return CohortPatients(name, means, np.ones(len(means)), np.zeros(len(means), dtype=np.int64))


def _expected(
    shelf: CohortShelf, codes: Sequence[str], lenders: Lenders, held: CohortPatients, splits: Sequence[Split]
) -> Expectation:
    """Every other cohort in turn borrows from the rest, without its outcomes; and the target's own cross-validation."""
    c_indices, errors = [], []
    for code in codes:
        other = shelf.patients(code)
        rest = [one for one in codes if one != code]
        if other.event.sum() < LEAST_EVENTS or not rest:
            continue
        of_rest = shelf.lenders(rest)
        prior = of_rest.model.prior(of_rest.axes.centroid(other.features))
        risk = of_rest.axes.project(other.features) @ prior.mean
        scores = score_all(other.time, other.event, risk[None], np.ones((1, len(risk)), dtype=bool))
        c_indices.append(scores.c_index)
        errors.append(scores.standard_error)
    own = _own(lenders, held, splits) if held.event.sum() > 1 and splits else None
    known = (own.c_index, own.standard_error) if own else (np.nan, np.nan)
    return expect(c_indices, errors, own=known[0], own_error=known[1])


def _own(lenders: Lenders, held: CohortPatients, splits: Sequence[Split]) -> CombinedConcordance:
    risk = borrowed_risks(lenders, held, splits).averaged
    tested_in = np.where(np.isfinite(risk).any(axis=0), np.isfinite(risk).argmax(axis=0), -1)
    return score_folds(held.time, held.event, risk, tested_in, np.isfinite(risk)).pooled


def _needed(run: Run) -> Crossing | None:
    """From the study's stored learning curve; None without one of enough targets."""
    stored = read_table(run.results.out / CURVE.path)
    if stored is None or not {AGAINST, "borrowed"} <= set(stored["method"]):
        return None
    stored = stored[run.results.owns(stored) & stored["method"].isin([AGAINST, "borrowed"])]
    if stored["target"].nunique() < LEAST_TARGETS:
        return None
    return crossing(stored.assign(study=run.study.name), AGAINST)


def _leave(run: Run, found: Recommendation) -> None:
    """JSON, the report's section where there is a report, and text."""
    results = run.results
    path = recommendation_path(results.out, results.encoder, found.target)
    write_json(path, {**asdict(found), "against": found.against, "sentences": sentences(found)})
    print(text(found))
    print(f"all of it: {path}")
    try:
        store_section(results, "recommendation", f"Borrowing: {found.target}", section_body([found]))
        print(f"report: {remake_report(results)}")
    except InputError:
        print("no report: nothing has been swept in this results folder")
