"""What is in a study, and what may be wrong with it: `cropkt check`, and the few lines of it that every run prints."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.data.slide_files.slide_faults import SkippedSlide, SlideFault
from cropkt.data.study import Cohort, Study
from cropkt.data.suspicions import Suspicion, suspicions
from cropkt.front.slides.encoder_names import same_encoder
from cropkt.front.slides.sampling import SAMPLED, look_into

DAYS_A_YEAR = 365.25
SHOWN_PLACES = 6


@dataclass(frozen=True)
class FoldCount:
    """Patients and events in the parts of a fold."""

    train: int
    train_events: int
    test: int
    test_events: int


@dataclass(frozen=True)
class UnreadableSlides:
    """Slides that one kind of fault leaves out: how many, and the first of them."""

    reason: str
    slides: int
    example: str


@dataclass(frozen=True)
class CohortCheck:
    """What is in a cohort. Follow-up in days: the median by the reverse Kaplan-Meier estimate (Schemper and Smith,
    Controlled Clinical Trials 1996), None where fewer than half of the patients are censored by the end."""

    code: str
    patients: int
    events: int
    median_follow_up: float | None
    longest_follow_up: float
    slides: int
    patches: int
    unreadable: tuple[UnreadableSlides, ...]
    folds: tuple[FoldCount, ...]


@dataclass(frozen=True)
class StudyCheck:
    """What is in a study, what was said when it was opened, and what may be wrong; `deep`: every row was read."""

    name: str
    encoder: str
    width: int
    deep: bool
    cohorts: tuple[CohortCheck, ...]
    warnings: tuple[str, ...]
    suspicions: tuple[Suspicion, ...]


def check_study(study: Study, *, deep: bool = False, report: Callable[[int, int], None] | None = None) -> StudyCheck:
    """Look at an opened study. With `deep` every slide is read in full, and `report` called with slides done and all.

    Nothing is written, and nothing refused: a study that is wrong does not open.
    """
    total, done = sum(len(cohort.slides) for cohort in study.cohorts.values()), 0
    cohorts = []
    for cohort in study.cohorts.values():
        bad = list(cohort.unusable)
        if deep:
            bad += _read_all(cohort, _from(done, total, report))
        done += len(cohort.slides)
        cohorts.append(check_cohort(cohort, bad))
    found = (*suspicions(study), *encoder_suspicions(study, None if deep else SAMPLED))
    return StudyCheck(study.name, study.encoder.name, study.encoder.dim, deep, tuple(cohorts), study.warnings, found)


def _from(done: int, total: int, report: Callable[[int, int], None] | None) -> Callable[[int], None]:
    """A report of one cohort's slides as part of all, of which `done` have been read."""

    def of_cohort(n_slides: int) -> None:
        if report is not None:
            report(done + n_slides, total)

    return of_cohort


def check_cohort(cohort: Cohort, unusable: Sequence[SkippedSlide]) -> CohortCheck:
    """What is in `cohort`, of whose slides `unusable` cannot be used."""
    labels = cohort.labels
    return CohortCheck(
        cohort.code,
        len(labels),
        int(labels["event"].sum()),
        median_follow_up(labels),
        float(labels["time"].max()),
        len(cohort.slides),
        int(cohort.slides["patches"].sum()),
        tuple(_by_reason(unusable)),
        tuple(_fold_count(labels, fold.train, fold.test) for fold in cohort.folds),
    )


def median_follow_up(labels: pd.DataFrame) -> float | None:
    """The median follow-up in days: when the Kaplan-Meier estimate with events and censoring exchanged reaches .5.

    `labels` has columns time and event. None where it does not reach .5.
    """
    time, censored = labels["time"].to_numpy(), labels["event"].to_numpy() == 0
    moments = np.unique(time)
    at_risk = np.array([(time >= moment).sum() for moment in moments])
    left = np.array([(censored & (time == moment)).sum() for moment in moments])
    remaining = np.cumprod(1 - left / at_risk)
    reached = np.flatnonzero(remaining <= 0.5 + 1e-12)
    return float(moments[reached[0]]) if reached.size else None


def encoder_suspicions(study: Study, most: int | None) -> list[Suspicion]:
    """Folders whose files name another encoder than the study does, or two; at most `most` files of each are opened."""
    folders: dict[str, list[str]] = {}
    for cohort in study.cohorts.values():
        for path in cohort.slides["path"]:
            folders.setdefault(os.path.dirname(path), []).append(path)
    if len(folders) > SAMPLED:  # a folder per slide
        folders = {os.path.commonpath(list(folders)): [path for paths in folders.values() for path in paths]}
    return [found for folder, paths in folders.items() for found in _encoders_of(folder, paths, study, most)]


def _encoders_of(folder: str, paths: Sequence[str], study: Study, most: int | None) -> list[Suspicion]:
    named = look_into(paths, most).encoders
    ours = study.encoder.name
    others = {name: count for name, count in named.items() if not same_encoder(name, ours)}
    kinds = [name for n, name in enumerate(named) if not any(same_encoder(name, one) for one in list(named)[:n])]
    looked = f"of {sum(named.values())} files looked into"
    if len(kinds) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in named.items())
        message = f"two encoders in one folder ({counts} {looked})"
        return [Suspicion("two encoders", folder, message, "keep each encoder's files in a folder of their own")]
    if not others:
        return []
    name, count = next(iter(others.items()))
    message = f"the files name the encoder {name} ({count} {looked}), study.yaml calls it {ours}"
    remedy = "mend the name under `encoders`, or `features` if these are another encoder's files"
    return [Suspicion("another encoder", folder, message, remedy)]


def _read_all(cohort: Cohort, report: Callable[[int], None]) -> list[SkippedSlide]:
    """The slides that turn out bad when all their rows are read, beyond those whose header is bad."""
    known = {slide.path for slide in cohort.unusable}
    found = []
    rows = cohort.slides[["patient_id", "slide", "path"]].itertuples(index=False, name=None)
    for number, (patient, slide, path) in enumerate(rows, 1):
        if path not in known:
            try:
                read_features(path)
            except FeatureFileError as error:
                found.append(SkippedSlide(cohort.code, slide, patient, path, error.fault, str(error), error.passing))
        report(number)
    return found


def _by_reason(unusable: Iterable[SkippedSlide]) -> list[UnreadableSlides]:
    kinds: Counter[SlideFault] = Counter(slide.kind for slide in unusable)
    first = {slide.kind: slide for slide in reversed(list(unusable))}
    return [
        UnreadableSlides(str(kind), count, f"{first[kind].path}: {first[kind].reason}")
        for kind, count in kinds.most_common()
    ]


def _fold_count(labels: pd.DataFrame, train: Sequence[str], test: Sequence[str]) -> FoldCount:
    events = labels["event"]
    return FoldCount(len(train), int(events[list(train)].sum()), len(test), int(events[list(test)].sum()))


def in_short(study: Study) -> list[str]:
    """The lines that every run prints: what the study holds, its warnings, and suspicions by kind."""
    cohorts = study.cohorts.values()
    patients, events = (sum(n(cohort) for cohort in cohorts) for n in (_patients, _events))
    slides, patches = (sum(n(cohort) for cohort in cohorts) for n in (_slides, _patches))
    people = f"{len(study.cohorts)} cohorts, {patients:,} patients, {events:,} events"
    held = f"{slides:,} slides, {patches:,} patches; encoder {study.encoder.name}, {study.encoder.dim} wide"
    lines = [f"study {study.name}: {people}, {held}"]
    lines += [f"warning: {warning}" for warning in study.warnings]
    return lines + [f"suspicion: {line}" for line in suspicions_by_kind(suspicions(study))]


def _patients(cohort: Cohort) -> int:
    return len(cohort.labels)


def _events(cohort: Cohort) -> int:
    return int(cohort.labels["event"].sum())


def _slides(cohort: Cohort) -> int:
    return len(cohort.slides)


def _patches(cohort: Cohort) -> int:
    return int(cohort.slides["patches"].sum())


def suspicions_by_kind(found: Iterable[Suspicion]) -> list[str]:
    """One line per kind of suspicion: where, the first in full, and the remedy."""
    kinds: dict[str, list[Suspicion]] = {}
    for suspicion in found:
        kinds.setdefault(suspicion.kind, []).append(suspicion)
    lines = []
    for kind, alike in kinds.items():
        first = alike[0]
        others = [os.path.basename(suspicion.where) for suspicion in alike[1:]]
        more = f"; so too {', '.join(others[:SHOWN_PLACES])}{', ...' if len(others) > SHOWN_PLACES else ''}"
        lines.append(f"{kind}: {first.where}: {first.message}{more if others else ''}; if so, {first.remedy}")
    return lines


def told(check: StudyCheck) -> list[str]:
    """`check` as a person reads it."""
    lines = [f"study {check.name}, encoder {check.encoder}, {check.width} wide", ""]
    header = f"{'cohort':10s}{'patients':>9s}{'events':>8s}{'median':>8s}{'longest':>9s}{'slides':>8s}{'patches':>12s}"
    lines += [header + "  test patients/events by fold", " " * 27 + "  years    years"]
    lines += [_cohort_line(cohort) for cohort in check.cohorts]
    if bad := [line for cohort in check.cohorts for line in _unreadable_lines(cohort)]:
        lines += [
            "",
            "slides that cannot be used" + ("" if check.deep else " by their headers (--deep reads them all)"),
        ]
        lines += bad
    if others := [line for line in check.warnings if " left out, " not in line]:
        lines += ["", "told when it was opened", *(f"  {line}" for line in others)]
    if by_kind := suspicions_by_kind(check.suspicions):
        lines += ["", "may be wrong", *(f"  {line}" for line in by_kind)]
    return [*lines, "", "nothing looks wrong" if not by_kind and not bad else "look at the above, then go on"]


def _cohort_line(check: CohortCheck) -> str:
    median = "-" if check.median_follow_up is None else f"{check.median_follow_up / DAYS_A_YEAR:.1f}"
    longest = f"{check.longest_follow_up / DAYS_A_YEAR:.1f}"
    counts = f"{check.code:10s}{check.patients:9,d}{check.events:8,d}{median:>8s}{longest:>9s}{check.slides:8,d}"
    folds = "  ".join(f"{fold.test}/{fold.test_events}" for fold in check.folds)
    return f"{counts}{check.patches:12,d}  {folds}"


def _unreadable_lines(check: CohortCheck) -> list[str]:
    return [f"  {check.code}: {bad.slides}, {bad.reason} (e.g. {bad.example})" for bad in check.unreadable]
