"""Patients as the sources' models see them: what borrowing needs to work on vectors in place of mean features.

A vector of a patient that trained a model remembers the outcome. So a cohort's patients are seen by the models of other
cohorts alone, and never by the target's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cropkt.borrowing.lenders import CohortPatients, Lenders, gather_lenders
from cropkt.borrowing.means import CohortMeans, with_outcomes
from cropkt.errors import InputError
from cropkt.experiments.run import Run


@dataclass(frozen=True)
class _Seen:
    """A cohort's patients by the models of all other sources: `total` (B, E), the sum over these."""

    patients: tuple[str, ...]
    sources: tuple[str, ...]
    total: np.ndarray


@dataclass(frozen=True)
class VectorShelf:
    """Vectors of the cohorts of `run`, from pairs that are measured; a cohort's are read when first asked for."""

    run: Run
    _held: dict[str, _Seen | None] = field(default_factory=dict)

    def lenders(self, codes: Sequence[str]) -> Lenders | None:
        """`codes` as lenders on their vectors; None where a pair between two of them is not measured, or no vector
        varies."""
        found = [self.vectors(code, codes) for code in codes]
        cohorts = [self._with_outcomes(one) for one in found if one is not None]
        try:
            return gather_lenders(cohorts) if len(cohorts) == len(codes) > 1 else None
        except InputError:
            return None

    def vectors(self, code: str, sources: Sequence[str]) -> CohortMeans | None:
        """The mean vector (B, E) of each patient of `code` over the models of `sources` other than `code`; None where
        one of these pairs is not measured."""
        seen, wanted = self._seen(code), [source for source in sources if source != code]
        if seen is None or not wanted or not set(wanted) <= set(seen.sources):
            return None
        total = seen.total.copy()
        for source in seen.sources:
            if source not in wanted:
                total -= self._of(source, code)[1]
        return CohortMeans(code, seen.patients, total / len(wanted))

    def _with_outcomes(self, means: CohortMeans) -> CohortPatients:
        return with_outcomes(self.run.cohorts[means.cohort], means)

    def _seen(self, code: str) -> _Seen | None:
        if code not in self._held:
            self._held[code] = self._read(code)
        return self._held[code]

    def _read(self, code: str) -> _Seen | None:
        """Of sources that have seen the same patients as the first."""
        found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for source in self.run.sources:
            record = self.run.results.record(source, code) if source != code else None
            if record is not None and record.is_done(self.run.fingerprint(source, code)):
                found[source] = self._of(source, code)
        patients = next((named for named, _ in found.values() if named), ())
        alike = {source: vectors for source, (named, vectors) in found.items() if named == patients and patients}
        return _Seen(patients, tuple(alike), np.sum(list(alike.values()), axis=0)) if alike else None

    def _of(self, source: str, code: str) -> tuple[tuple[str, ...], np.ndarray]:
        """Patients and their mean vectors over the fold models of a source; no patient where they are damaged."""
        found = self.run.results.representations(source, code)
        if found is None:
            return (), np.zeros((0, 0))
        return found.patients, found.vectors.double().mean(dim=0).numpy()
