"""A recommendation for people: lines of text, and the report's section."""

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.borrowing.advice.recommendation import Expectation, LenderWeight
from cropkt.report.html import paragraphs, table
from cropkt.rivals.comparison import Crossing

SHOWN = 12
"""Lenders in the text; the JSON and the report have all."""


@dataclass(frozen=True)
class Recommendation:
    """probability: that borrowing helps here, NaN without outcomes. needed: None where no learning curve is stored."""

    target: str
    patients: int
    events: int
    probability: float
    lenders: tuple[LenderWeight, ...]
    expected: Expectation
    needed: Crossing | None
    advice: str

    @property
    def against(self) -> list[str]:
        """Cohorts not to use: those that run their own way."""
        return [lender.cohort for lender in self.lenders if not lender.lends]


def sentences(found: Recommendation) -> list[str]:
    """What a recommendation says."""
    told = [f"{found.target}: {found.patients} patients, {found.events} with an event. {found.advice}"]
    if np.isfinite(found.probability):
        told.append(
            f"Borrowing beats an own ridge Cox model here with probability {found.probability:.2f}: by how much the "
            "other cohorts foretell, and whether this one's outcomes go with them. It was reliable on draws of real "
            "cohorts, and does not tell beforehand which cohort loses a little."
        )
    else:
        told.append("There are no outcomes, so whether borrowing helps here cannot be asked of this cohort.")
    expected = found.expected
    if np.isfinite(expected.c_index):
        own = f", and this cohort's own {expected.own:.2f}" if np.isfinite(expected.own) else ""
        told.append(
            f"C-index to expect: {expected.c_index:.2f} ({expected.lower:.2f} to {expected.upper:.2f}), from "
            f"{expected.cohorts} other cohorts left out in turn{own}."
        )
    if found.needed is None:
        told.append("How many events it takes to do without is not known: run cropkt curve on this study first.")
    else:
        told.append(found.needed.sentence())
    if found.against:
        told.append(f"Do not use {', '.join(found.against)}: their outcomes run another way than the others'.")
    return told


def text(found: Recommendation) -> str:
    """For the terminal."""
    lines = [*sentences(found), "", "lender      weight (95 % interval)     distance  shares  events"]
    for row in found.lenders[:SHOWN]:
        if row.lends:
            weight = f"{row.weight:+.2f} ({row.lower:+.2f} to {row.upper:+.2f})"
            lines.append(f"{row.cohort:10s}  {weight:24s}  {row.distance:7.2f}   {row.sharing:.2f}   {row.events:6d}")
    return "\n".join(lines)


def section_body(found: list[Recommendation]) -> str:
    """HTML of the report's section."""
    parts = [
        "<p>From whom a cohort would borrow, how probable it is that this helps, and what to expect. A weight is a "
        "cohort's part in the borrowed risk; weights add up to 1.</p>"
    ]
    for one in found:
        parts.append(f'<h3 id="recommendation-{html.escape(one.target)}">{html.escape(one.target)}</h3>')
        parts += paragraphs(sentences(one))
        parts.append(table(pd.DataFrame([vars(row) for row in one.lenders])))
    return "\n".join(parts)
