"""A results folder made up in seconds: real record, comparison and table code on risks drawn at random, not on models.

`python tests/report/made_up_results.py DIR` writes one with all 26 cohorts, to look at a report without a sweep.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cropkt.cohorts import COHORTS, CohortInfo, cohort_info
from cropkt.data.bags import Bags
from cropkt.data.patients.folds import Fold
from cropkt.data.study import Cohort, Encoder
from cropkt.seeds import generator
from cropkt.transfer.assemble import update_comparison, write_tables
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.pair import Scored, TargetCohort, pair_result
from cropkt.transfer.store import ResultsFolder, store_failure, store_pair

ENCODER, ARCHITECTURE, FOLDS = "uni2-h", "abmil", 5
NO_EVENT, FEW_EVENTS, HALF_FAILED = "dlbc", "tgct", "ucs"
"""Targets with no event and with three, and a source that fails on every second target."""


@dataclass(frozen=True)
class MadeUpTarget:
    """Patients of a made-up cohort: what pair_result needs to know of a target, and each patient's true log-risk."""

    target: TargetCohort
    log_risk: np.ndarray
    folds: tuple[Fold, ...]


def write_results(out: Path, codes: Sequence[str], *, patients: int = 60) -> ResultsFolder:
    """Write records, predictions and tables of all pairs of `codes` and of the baselines."""
    folder = ResultsFolder(out, ENCODER, ARCHITECTURE)
    for code in codes:
        made = make_target(code, patients)
        for number, source in enumerate([*codes, *BASELINES]):
            if source == HALF_FAILED and number % 2 == list(codes).index(code) % 2:
                store_failure(folder, source, code, "RuntimeError: made up <to fail>")
                continue
            result = pair_result(_scored(source, made), made.target)
            names = made.target.bags.patients
            store_pair(folder, result, fingerprint=made_up(source, code), patients=names, seconds=0.1)
        update_comparison(folder, code, made.folds, made_up)
    write_tables(folder, made_up)
    return folder


def made_up(source: str, target: str) -> str:  # noqa: ARG001
    """The fingerprint of every record here."""
    return "made up"


def make_target(code: str, patients: int) -> MadeUpTarget:
    """Exponential survival times whose log-rate is the patients' log-risk; censoring leaves a third with an event."""
    random = generator(0, "made up", code)
    log_risk = random.normal(size=patients)
    death = random.exponential(1500 * np.exp(-0.8 * log_risk))
    censored = random.exponential(900, size=patients)
    time, event = np.ceil(np.minimum(death, censored)), (death < censored).astype(np.int64)
    events = {NO_EVENT: 0, FEW_EVENTS: 3}.get(code, patients)
    event[np.flatnonzero(event)[events:]] = 0
    names = tuple(f"{code}-{number:04d}" for number in range(patients))
    tested_in = np.arange(patients) % FOLDS
    folds = tuple(_fold(names, tested_in, fold) for fold in range(FOLDS))
    labels = pd.DataFrame({"project": code}, index=pd.Index(names))
    cohort = Cohort(
        CohortInfo(code, code, (code.upper(),), "", "", "large"),
        labels,
        pd.DataFrame(columns=["patient_id", "slide", "path", "patches"]),
        folds,
        Encoder(ENCODER, 1, ("{slide}.h5",)),
        "made up",
    )
    bags = Bags(names, torch.zeros(patients, 1), torch.arange(patients + 1))
    return MadeUpTarget(TargetCohort(cohort, bags, time, event, tested_in), log_risk, folds)


def _fold(names: Sequence[str], tested_in: np.ndarray, fold: int) -> Fold:
    test = tuple(name for name, where in zip(names, tested_in, strict=True) if where == fold)
    return Fold(tuple(name for name in names if name not in test), test)


def _scored(source: str, made: MadeUpTarget) -> Scored:
    code = made.target.cohort.code
    random = generator(0, "made up risk", source, code)
    noise = random.normal(size=(1, len(made.log_risk))) + 0.6 * random.normal(size=(FOLDS, len(made.log_risk)))
    risk = _knowledge(source, code) * made.log_risk + noise
    valid = np.ones(risk.shape, dtype=bool)
    knows_target = source == code or (source in BASELINES and BASELINES[source].learns)
    if knows_target:
        valid = made.target.tested_in[None, :] == np.arange(FOLDS)[:, None]
    return Scored(source, ARCHITECTURE, tuple(range(FOLDS)), risk, valid, knows_target=knows_target)


def _knowledge(source: str, target: str) -> float:
    """How much of the true log-risk a source sees: most at home, some within its group, SARC the wrong way round."""
    if source in BASELINES:
        return {"mean_cox": 0.4, "random": 0.1, "pan_cancer": 1.0}.get(source, 0.0)
    if source == target:
        return 1.2
    if source == "sarc":
        return -1.2
    return 2.5 if cohort_info(source).group == cohort_info(target).group else 0.25


if __name__ == "__main__":
    write_results(Path(sys.argv[1]), list(COHORTS), patients=200)
