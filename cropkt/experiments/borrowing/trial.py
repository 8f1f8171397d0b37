"""What runs inside Ray Tune for learning curves: one draw of a target. The worker holds the target and the others."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cropkt.borrowing.lenders import lender_codes
from cropkt.borrowing.means import fold_splits
from cropkt.experiments.borrowing.means import CohortShelf
from cropkt.experiments.borrowing.networks import left_out_together, source_models_of
from cropkt.experiments.run import Run
from cropkt.experiments.sources.pan_cancer import PanCancerJob
from cropkt.experiments.sweep.trial import read_target
from cropkt.experiments.tune import Trial
from cropkt.files import digest, read_json, write_json
from cropkt.rivals import ALL, POOLED, RIVALS, SOURCES
from cropkt.rivals.draws import splits_of
from cropkt.rivals.measure import Subject, measure_draw
from cropkt.rivals.rows import CurveRow
from cropkt.simulation.truth import true_log_risk
from cropkt.transfer.columns import row_from_json

CURVE_VERSION = 2
"""Raised when the code changes what a method of the same draw measures."""


@dataclass(frozen=True)
class Draw:
    """A draw of a target's training patients; patients as in rows.CurveRow."""

    target: str
    patients: str
    number: int


@dataclass(frozen=True)
class CurveJob:
    """The run, the methods that are compared, and how many targets pan-cancer networks leave out together."""

    run: Run
    methods: tuple[str, ...]
    left_out: int = 1

    @property
    def needs(self) -> set[str]:
        """What the methods are given (rivals.NEEDS)."""
        return {RIVALS[name].needs for name in self.methods}

    @cached_property
    def _lenders(self) -> dict[str, list[str]]:
        """By target; every method of every draw asks, and comparing patients of all cohorts takes milliseconds."""
        run = self.run
        return {target: lender_codes(run.cohorts, target, run.sources) for target in run.targets}

    def lenders(self, target: str) -> list[str]:
        """The cohorts that lend to a target."""
        return self._lenders[target]

    def networks(self, target: str) -> PanCancerJob:
        """Its pan-cancer networks, trained or not."""
        return self._networks[target]

    @cached_property
    def _networks(self) -> dict[str, PanCancerJob]:
        """By target, as `_lenders`."""
        run = self.run
        groups = left_out_together(run.targets, self.left_out)
        return {target: PanCancerJob(run.pan_cancer(*group, among=run.sources)) for target, group in groups.items()}

    def path(self, draw: Draw) -> Path:
        """Where what a draw has measured is kept."""
        results = self.run.results
        name = draw.patients if draw.patients == ALL else f"{draw.patients}_{draw.number}"
        return (
            results.out / "borrowing" / results.encoder / "curve" / results.architecture / draw.target / f"{name}.json"
        )

    def fingerprint(self, draw: Draw, method: str) -> str:
        """Changes whenever anything changes that decides what the method measures on the draw."""
        run, plan = self.run, self.run.plan
        cohorts = [run.cohorts[code].fingerprint for code in (draw.target, *self.lenders(draw.target))]
        networks = {
            POOLED: lambda: [self.networks(draw.target).networks.fingerprint],
            SOURCES: lambda: [plan.fingerprint(run.cohorts[code], run.folds[0]) for code in self.lenders(draw.target)],
        }
        made = networks.get(RIVALS[method].needs, list)()
        architecture, training = asdict(plan.architecture), asdict(plan.training)
        return digest(CURVE_VERSION, cohorts, architecture, training, plan.seed, asdict(draw), made)

    def stored(self, draw: Draw) -> dict[str, CurveRow]:
        """By method, the rows that are there and still valid. A method without a row could not be compared."""
        return {name: row for name, row in self._read(draw).items() if row is not None}

    def missing(self, draw: Draw) -> tuple[str, ...]:
        """The methods that are not measured on the draw."""
        done = self._read(draw)
        return tuple(name for name in self.methods if name not in done)

    def store(self, draw: Draw, methods: Sequence[str], rows: Sequence[CurveRow]) -> None:
        """Add what has been measured of `methods` to what is stored."""
        found = {row.method: vars(row) for row in rows}
        entries = {name: {"fingerprint": self.fingerprint(draw, name), "row": found.get(name)} for name in methods}
        write_json(self.path(draw), (read_json(self.path(draw)) or {}) | entries)

    def _read(self, draw: Draw) -> dict[str, CurveRow | None]:
        """Row by method, None where it could not be compared; nothing that is damaged or not today's."""
        content = read_json(self.path(draw)) or {}
        found: dict[str, CurveRow | None] = {}
        for name in self.methods:
            try:
                if content[name]["fingerprint"] == self.fingerprint(draw, name):
                    row = content[name]["row"]
                    found[name] = None if row is None else row_from_json(CurveRow, row)
            except (AttributeError, KeyError, TypeError, ValueError):
                continue
        return found


class CurveTrial(Trial):
    """A trial measures one draw: `point` is it, `job` the CurveJob."""

    job: CurveJob
    point: Draw

    def start(self) -> None:
        """Nothing is held yet."""
        self._shelf = CohortShelf(self.job.run)
        self._subject: Subject | None = None

    def step(self) -> dict[str, Any]:
        """Measure and store; a draw that cannot be measured stops no other."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of fits on a handful of events
                self._measure()
        except Exception as error:
            return {"done": True, "failed": f"{type(error).__name__}: {error}"}
        return {"done": True, "failed": ""}

    def _measure(self) -> None:
        job, draw = self.job, self.point
        subject = self._held(draw.target)
        count, seed = len(subject.patients.time), job.run.plan.seed
        splits = splits_of(draw.patients, subject.folds, count, seed=seed, code=draw.target, number=draw.number)
        missing = job.missing(draw)
        rows = measure_draw(subject, splits, missing, size=draw.patients, number=draw.number, seed=seed)
        job.store(draw, missing, rows)

    def _held(self, code: str) -> Subject:
        if self._subject is None or self._subject.patients.cohort != code:
            self._subject = None  # let go of the last target before the next one is read
            self._subject = hold_subject(self.job, self._shelf, code)
        return self._subject


def hold_subject(job: CurveJob, shelf: CohortShelf, code: str) -> Subject:
    """A target with all that its draws need."""
    run, means, lenders = job.run, shelf.means(code), job.lenders(code)
    held = read_target(run, code) if job.needs != {"means"} else None
    return Subject(
        shelf.patients(code),
        shelf.others(lenders),
        tuple(fold_splits(run.cohorts[code], means.patients)),
        run.results.encoder,
        run.plan,
        held,
        true_log_risk(run.study.folder, code, means.patients),
        job.networks(code).load(held.bags) if held and POOLED in job.needs else None,
        source_models_of(run, lenders) if SOURCES in job.needs else {},
    )
