"""A folder of summaries on common axes: what cohorts lend, without their patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cropkt.borrowing.axes import AXES, build_axes, cohort_moments
from cropkt.borrowing.exchange import (
    read_axes,
    read_moments,
    read_summary,
    write_axes,
    write_moments,
    write_summary,
)
from cropkt.borrowing.lenders import CohortPatients, Lenders, screen_lenders
from cropkt.borrowing.summary import Summary, summarise
from cropkt.errors import InputError
from cropkt.files import stored_files


@dataclass(frozen=True)
class Library:
    """A library in `folder`."""

    folder: Path

    @property
    def axes_path(self) -> Path:
        """The axes that all summaries are on."""
        return self.folder / "axes.safetensors"

    def moments_path(self, code: str) -> Path:
        """A cohort's moments, of which the axes were made."""
        return self.folder / "moments" / f"{code}.safetensors"

    def summary_path(self, code: str) -> Path:
        """A cohort's summary: the file that travels."""
        return self.folder / "summaries" / f"{code}.safetensors"

    def found(self, cohorts: Sequence[CohortPatients], *, axes: int = AXES) -> None:
        """Write the moments of `cohorts`, and the axes made of them as they are written."""
        for cohort in cohorts:
            write_moments(self.moments_path(cohort.cohort), cohort_moments(cohort.cohort, cohort.features))
        written = [read_moments(self.moments_path(cohort.cohort)) for cohort in cohorts]
        write_axes(self.axes_path, build_axes(written, axes))

    def add(self, cohort: CohortPatients) -> Summary:
        """Write the summary of `cohort` on the library's axes. Raises InputError without them, or for another width."""
        axes = read_axes(self.axes_path)
        if cohort.features.shape[1] != len(axes.scale):
            widths = f"{cohort.features.shape[1]} features, the axes of {self.folder} {len(axes.scale)}"
            raise InputError(f"{cohort.cohort} has {widths}; use features of the same encoder")
        summary = summarise(cohort.cohort, cohort.features, cohort.time, cohort.event, axes)
        write_summary(self.summary_path(cohort.cohort), summary)
        return summary

    def summaries(self) -> list[Summary]:
        """Every summary there is, by name. Raises InputError when there is none."""
        found = [read_summary(path) for path in stored_files(self.folder, "summaries/*.safetensors")]
        if not found:
            raise InputError(f"{self.folder}: no summary there; make a library with cropkt library summaries export")
        return found

    def lenders(self, *, without: str = "") -> Lenders:
        """The library's cohorts as lenders to a target; `without` leaves out the target's own summary."""
        chosen = [summary for summary in self.summaries() if summary.cohort != without]
        return screen_lenders(read_axes(self.axes_path), chosen)
