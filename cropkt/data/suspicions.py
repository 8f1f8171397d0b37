"""What may be wrong in a study that opens: numbers that a mistake explains better than the disease does.

Nothing here is certain, so nothing is refused. The bounds raise no false alarm in the disease-specific survival of 26
TCGA cohorts, and see each of them with events and censored exchanged, or with months for days.
"""

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cropkt.data.study import Cohort, Study
from cropkt.data.study_yaml.columns import DAYS
from cropkt.data.study_yaml.patterns import study_path

SHORT_DAYS = 500
"""The longest follow-up of the 26 cohorts is 1,976 days (CHOL) or more; 60 months read as days are 60."""
FEW_PATIENTS = 10
"""In fewer patients any pattern may be chance."""
EXCEL_DATES = (30_000, 50_000)
"""Spreadsheets count days from 1900: 1982 to 2036 are these numbers. No patient is followed for 82 years."""
MOST_EVENTS = 0.75
"""Events per patient; the most of the 26 cohorts is .65 (MESO)."""
LONGEST_FOLLOWED = 0.1
"""Those followed longest are mostly censored: at most .47 (GBMLGG) of this part of a cohort has an event."""
_TCGA_SLIDE = re.compile(r"TCGA-\w\w-\w{4}-(?P<sample>\d\d)[A-Z]?-\d\d-(?P<kind>DX|TS|BS|MS)", re.IGNORECASE)
FEW_EVENTS = 5
"""With fewer events a C-index has no verdict."""


@dataclass(frozen=True)
class Suspicion:
    """Something that may be wrong: its `kind`, `where` (a cohort or file), what was seen, and the `remedy` if it is."""

    kind: str
    where: str
    message: str
    remedy: str


def suspicions(study: Study) -> list[Suspicion]:
    """All suspicions about an opened study, by cohort in its order, then those about its files."""
    found = [suspicion for cohort in study.cohorts.values() for suspicion in cohort_suspicions(cohort, study)]
    return found + tables_of_no_cohort(study)


def cohort_suspicions(cohort: Cohort, study: Study) -> list[Suspicion]:
    """All suspicions about one cohort of `study`."""
    unit = study.settings.columns.time.unit
    return [
        *time_suspicions(cohort, unit),
        *event_suspicions(cohort),
        *fold_suspicions(cohort),
        *slide_suspicions(cohort),
    ]


def time_suspicions(cohort: Cohort, unit: str) -> list[Suspicion]:
    """Times in another unit than study.yaml says (`unit`), or dates of a spreadsheet."""
    times = cohort.labels["time"].to_numpy() / DAYS[unit]
    if len(times) < FEW_PATIENTS:
        return []
    remedy = "give the unit in study.yaml: `columns: {time: {column: ..., unit: months}}` (or years)"
    dates = np.mean((times >= EXCEL_DATES[0]) & (times <= EXCEL_DATES[1]))
    if dates > 0.5:
        message = (
            f"{dates:.0%} of the times are between 30,000 and 50,000, as dates are that a spreadsheet made numbers"
        )
        return [Suspicion("spreadsheet dates", cohort.code, message, "give the time since diagnosis, not the date")]
    found = []
    if unit == "days":
        if times.max() < SHORT_DAYS:
            message = f"the longest time is {times.max():g} days; are these months or years?"
            found.append(Suspicion("short times", cohort.code, message, remedy))
        if np.mean(times != np.round(times)) > 0.1:
            message = (
                f"{np.mean(times != np.round(times)):.0%} of the times are no whole days; are these months or years?"
            )
            found.append(Suspicion("parts of days", cohort.code, message, remedy))
        for step, name in (
            (365, "years of 365 days"),
            (365.25, "years"),
            (30, "months of 30 days"),
            (30.4375, "months"),
        ):
            if _multiples(times, step):
                message = f"all times are whole {name}: they have been recorded coarsely, and many patients are tied"
                remedy = "use the dates they were made from, if there are any"
                found.append(Suspicion("coarse times", cohort.code, message, remedy))
                break
    elif times.max() > SHORT_DAYS:
        years = times.max() * DAYS[unit] / DAYS["years"]
        message = f"the longest time is {times.max():g} {unit}, {years:.0f} years; are these days?"
        found.append(Suspicion("long times", cohort.code, message, "mend `columns: {time: {unit: ...}}` in study.yaml"))
    return found


def _multiples(times: np.ndarray, step: float) -> bool:
    """Are all times whole multiples of `step` (made whole days or not), and not all 0?"""
    nearest = np.round(times / step) * step
    return bool(times.max() >= step and np.all(np.abs(times - nearest) <= (0 if step == round(step) else 0.51)))


def event_suspicions(cohort: Cohort) -> list[Suspicion]:
    """Too many or too few events, or events where the censored should be."""
    labels = cohort.labels
    events, patients = int(labels["event"].sum()), len(labels)
    found = []
    if 0 < events < FEW_EVENTS:
        message = f"{events} of {patients} patients have an event; no C-index of the cohort can be told from chance"
        remedy = "use it as a target with that in mind, or another endpoint with more events (PFI instead of DSS)"
        found.append(Suspicion("few events", cohort.code, message, remedy))
    if patients < FEW_PATIENTS or not 0 < events < patients:
        return found
    remedy = "look at a few patients; if 1 means censored, say `columns: {event: {column: ..., censored: 1}}`"
    if events / patients > MOST_EVENTS:
        message = f"{events} of {patients} patients have an event, more than usual"
        found.append(Suspicion("many events", cohort.code, message, remedy))
    longest = labels.sort_values("time", kind="stable").tail(max(FEW_PATIENTS // 2, int(patients * LONGEST_FOLLOWED)))
    if longest["event"].mean() > 0.5:
        message = f"of the {len(longest)} patients followed longest {int(longest['event'].sum())} have an event; most "
        message += "such patients are censored as a rule"
        found.append(Suspicion("events inverted", cohort.code, message, remedy))
    return found


def fold_suspicions(cohort: Cohort) -> list[Suspicion]:
    """Folds in which nothing can be learnt or measured, as no event is left in them."""
    events = cohort.labels["event"]
    found = []
    for part in ("train", "test"):
        empty = [str(n) for n, fold in enumerate(cohort.folds) if not events.reindex(getattr(fold, part)).sum()]
        if empty and (part == "train" or events.sum() >= len(cohort.folds)):
            message = f"no patient with an event is in {part} of fold {', '.join(empty)}"
            remedy = "remove the cohort's splits to have folds made that share out the events, or use fewer folds"
            found.append(Suspicion("fold without event", cohort.code, message, remedy))
    return found


def slide_suspicions(cohort: Cohort) -> list[Suspicion]:
    """By their TCGA barcodes: slides of normal tissue, and frozen sections among diagnostic ones, in patients' bags."""
    parts = [part for slide in cohort.slides["slide"] if (part := _TCGA_SLIDE.match(slide))]
    normal = sum(part["sample"].startswith("1") for part in parts)
    frozen = sum(part["kind"].upper() != "DX" for part in parts)
    remedy = (
        "move them to another folder, or list the slides you mean in a column of slides, with `unmatched: leave_out`"
    )
    found = []
    if normal:
        message = f"{normal} of {len(parts)} slides are of normal tissue (sample type 10 to 19 in their barcodes)"
        found.append(Suspicion("normal tissue", cohort.code, message, remedy))
    if 0 < frozen < len(parts):
        message = f"{frozen} slides are frozen sections (TS, BS, MS) beside {len(parts) - frozen} diagnostic ones (DX)"
        found.append(Suspicion("frozen and diagnostic", cohort.code, message, remedy))
    return found


def tables_of_no_cohort(study: Study) -> list[Suspicion]:
    """Tables that lie where label tables lie, and that no cohort of the study is read from."""
    names = study.settings.cohorts or {code: (code,) for code in study.cohorts}
    used = {name.lower() for of_cohort in names.values() for name in of_cohort}
    remedy = "list it under `cohorts` in study.yaml, or move it away"
    return [
        Suspicion("table of no cohort", str(path), f"the table of {name!r} is read for no cohort", remedy)
        for pattern in study.settings.labels
        for path, name in _tables(study.folder, pattern)
        if name.lower() not in used
    ]


def _tables(folder: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    """(path, name) of every file that `pattern` fits, with the name that stands for {cohort}."""
    if "{cohort}" not in pattern:
        return
    mark = "\0"
    marked = str(study_path(folder, pattern, cohort=mark))
    wanted = re.escape(marked).replace(re.escape(mark), r"([^/\\]+)", 1).replace(re.escape(mark), r"\1")
    for path in sorted(glob.glob("*".join(map(glob.escape, marked.split(mark))))):
        if (found := re.fullmatch(wanted, path)) and Path(path).is_file():
            yield Path(path), found.group(1)
