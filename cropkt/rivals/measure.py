"""A draw measured: every rival is fitted on the same training patients and asked about the same test patients once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cropkt.borrowing.advice.worth import expected_concordance
from cropkt.borrowing.folds import Split
from cropkt.borrowing.lenders import CohortPatients
from cropkt.models.mil import MILModel
from cropkt.rivals import RIVALS
from cropkt.rivals.case import Case, Others
from cropkt.rivals.pan_cancer import PanCancerNetworks
from cropkt.rivals.rows import CurveRow
from cropkt.seeds import named_seed
from cropkt.survival.concordance import score_folds
from cropkt.training.sources import SourcePlan
from cropkt.transfer.pair import ResidentTarget


@dataclass(frozen=True)
class Subject:
    """A target held ready for all its draws. log_risk: (B,) the truth of a simulated study. The rest as in Case; all of
    the target's patients in the order of `patients`."""

    patients: CohortPatients
    others: Others
    folds: tuple[Split, ...]
    encoder: str
    plan: SourcePlan
    held: ResidentTarget | None = None
    log_risk: np.ndarray | None = None
    pan_cancer: PanCancerNetworks | None = None
    sources: Mapping[str, MILModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.held is not None and not np.array_equal(self.held.time, self.patients.time):
            raise ValueError(f"{self.patients.cohort}: its bags and its means are not of the same patients")


def measure_draw(
    subject: Subject,
    splits: Sequence[Split],
    methods: Sequence[str],
    *,
    size: str,
    number: int,
    seed: int,
) -> list[CurveRow]:
    """A row for each of `methods` (names of RIVALS), all on the same `splits`; none where nobody can be compared."""
    cohort = subject.patients.cohort
    cases = []
    for fold, (train, test) in enumerate(splits):
        of_fold = named_seed(seed, cohort, number, fold)
        networks = (subject.held, subject.plan, subject.pan_cancer, subject.sources)
        cases.append(Case(subject.patients, train, test, subject.others, of_fold, *networks))
    rows = [_measure(name, cases, subject, size, number) for name in methods] if cases else []
    return [row for row in rows if np.isfinite(row.c_index)]


def _measure(name: str, cases: Sequence[Case], subject: Subject, size: str, number: int) -> CurveRow:
    started = time.perf_counter()
    target = subject.patients
    tested = np.concatenate([case.test for case in cases])
    risk = np.full((len(cases), len(target.time)), np.nan)
    tested_in = np.full(len(target.time), -1)
    fitted = True
    for fold, case in enumerate(cases):
        found = RIVALS[name].fit(case)
        fitted &= found is not None
        risk[fold, case.test] = 0.0 if found is None else found
        tested_in[case.test] = fold
    scores = score_folds(target.time, target.event, risk, tested_in, np.isfinite(risk))
    truth = np.nan if subject.log_risk is None else expected_concordance(risk, subject.log_risk)
    probability, signal = np.nan, np.nan
    if name == "borrowed":
        probability = float(np.mean([case.fit.probability for case in cases]))
        signal = float(np.mean([case.fit.signal for case in cases]))
    return CurveRow(
        target=target.cohort,
        encoder=subject.encoder,
        architecture=subject.plan.architecture.name,
        method=name,
        patients=size,
        draw=number,
        train_events=float(np.mean([case.training.event.sum() for case in cases])),
        test_patients=len(tested),
        test_events=int(target.event[tested].sum()),
        c_index=scores.pooled.c_index,
        c_index_true=truth,
        probability=probability,
        signal=signal,
        fitted=fitted,
        seconds=time.perf_counter() - started,
    )
