"""A study: its cohorts' labels, slides, folds and feature files, checked in full when it is opened.

Opening reads label tables, split files, folder listings, the headers of feature files and, once, their bytes (for the
fingerprint; the digests are kept), and needs no torch for `.h5` files.
Everything that is wrong is collected over the whole study and told in one StudyError.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pandas as pd

from cropkt.cohorts import CohortInfo, cohort_info
from cropkt.data.faults import Faults
from cropkt.data.identity import CohortIdentity, cohort_identity
from cropkt.data.listing import SlideFiles
from cropkt.data.packs.index import packed_cohort
from cropkt.data.patients.folds import Fold, SplitPatients, check_kept, read_splits, write_splits
from cropkt.data.patients.label_sources import label_sources, study_cohorts
from cropkt.data.patients.labels import UNSAFE_NAME, LabelRow, LabelTable, read_cohort_labels
from cropkt.data.patients.site_folds import fresh_folds
from cropkt.data.patients.tables import read_table
from cropkt.data.persons import person_of
from cropkt.data.slide_files.digests import digest_cache, known_headers, slide_digests
from cropkt.data.slide_files.slide_faults import SkippedSlide, skipped_by_reason
from cropkt.data.slide_files.slide_names import is_plain_name
from cropkt.data.slides import SlideTable, check_headers, locate_slides, not_in_labels, use_packed
from cropkt.data.study_yaml.settings import Encoder, StudySettings, read_settings, study_path
from cropkt.errors import StudyError, suggestion
from cropkt.files import digest

__all__ = ["Cohort", "Encoder", "Fold", "Study", "open_study"]


@dataclass(frozen=True)
class Cohort:
    """One cohort of an opened and checked study.

    labels: index patient_id (sorted, unique); columns time (float64 days), event (int64, 1 died of the disease),
        project. Every patient has at least one slide.
    slides: columns patient_id, slide, path, patches (0 where the header could not be read), sorted by patient, a
        patient's slides in the order of the label table.
    folds: patient ids; all of them are in `labels`.
    fingerprint: changes when labels, folds, slide names, the content of any slide's file or the encoder change; not
        when the study moves.
    identity: what the fingerprint is made of, to say what has changed.
    unusable: slides whose header shows that they are bad; none of them is in a bag.
    clinical: index as labels; column site ("" where unknown), then the clinical columns of study.yaml, numbers as
        float64. No part of the fingerprint, as no model learns from them.
    """

    info: CohortInfo
    labels: pd.DataFrame
    slides: pd.DataFrame
    folds: tuple[Fold, ...]
    encoder: Encoder
    fingerprint: str
    identity: CohortIdentity | None = None
    unusable: tuple[SkippedSlide, ...] = ()
    clinical: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def code(self) -> str:
        """The cohort's lower-case code."""
        return self.info.code

    def split_again(self, seed: int, *, by_site: bool) -> "Cohort":
        """The cohort with as many other folds of the patients it trains and tests on, made from `seed`; by_site as in
        study.yaml (`splits: site`)."""
        split = {
            patient for fold in self.folds for part in (fold.train, fold.test, fold.validation) for patient in part
        }
        labels = self.labels[self.labels.index.isin(split)]
        site = self.clinical["site"].reindex(labels.index) if by_site else pd.Series("", labels.index)
        folds, _ = fresh_folds(labels, site, len(self.folds), seed, self.code, by_site=by_site)
        identity = None if self.identity is None else self.identity.with_folds(folds)
        known = digest(self.fingerprint, [vars(fold) for fold in folds]) if identity is None else identity.fingerprint
        return replace(self, folds=folds, identity=identity, fingerprint=known)


@dataclass(frozen=True)
class Study:
    """An opened study with the encoder chosen; `cohorts` by code, in the registry's order; `settings` of study.yaml."""

    folder: Path
    name: str
    encoder: Encoder
    cohorts: dict[str, Cohort]
    warnings: tuple[str, ...]
    settings: StudySettings

    @property
    def fingerprint(self) -> str:
        """Changes when that of any cohort does."""
        return digest({code: cohort.fingerprint for code, cohort in self.cohorts.items()})


def open_study(
    folder: str | Path,
    *,
    encoder: str | None = None,
    cohorts: Sequence[str] | None = None,
    seed: int = 0,
    packed: bool = True,
    report: Callable[[int, int], None] | None = None,
) -> Study:
    """Open and check the study in `folder`.

    `encoder` defaults to the first one of study.yaml, `cohorts` (any case) to those study.yaml lists, else to those of
    the registry that have a label table. Splits that are not there are made, seeded by study.yaml's `seed` or else by
    `seed`, and written beside the study; splits that are there are never rewritten. The first opening reads every slide
    once, to know its content again; `report` is called with the bytes read so far and in all. Slides that are packed
    are read from the pack, unless their file is there and is another one by now, or `packed` is False.
    Raises StudyError with everything that is wrong: file, row, patient, slide, and what to do.
    """
    folder = Path(folder)
    faults = Faults(f"study {folder}")
    settings = read_settings(folder, faults)
    try:
        chosen = _choose_encoder(settings, encoder)
        listed = study_cohorts(folder, settings)
        selected = _select(listed, cohorts, settings)
    except StudyError:
        faults.raise_any()  # what is wrong in study.yaml itself is the likely cause
        raise
    return _Opening(folder, settings, chosen, faults, seed, packed=packed).open(
        listed, selected, required=cohorts is not None, report=report
    )


def pack_folder(folder: Path, encoder: Encoder) -> Path:
    """Where the pack of `encoder` is, or would be, for the study in the folder `folder`."""
    return folder / os.path.expanduser(encoder.pack)


def _choose_encoder(settings: StudySettings, name: str | None) -> Encoder:
    if name is None:
        return next(iter(settings.encoders.values()))
    if name not in settings.encoders:
        known = ", ".join(settings.encoders)
        hint = suggestion(name, list(settings.encoders))
        raise StudyError(f"study {settings.name} has no encoder {name!r}; {hint}it has {known}")
    return settings.encoders[name]


def _select(listed: tuple[str, ...], cohorts: Sequence[str] | None, settings: StudySettings) -> tuple[str, ...]:
    if cohorts is None:
        return listed
    codes = {code.lower() for code in cohorts}
    for code in sorted(codes.difference(listed)):
        hint = suggestion(code, listed)
        raise StudyError(f"study {settings.name} has no cohort {code!r}; {hint}it has {', '.join(listed)}")
    return tuple(code for code in listed if code in codes)


class _Opening:
    """One opening of a study: the checks in the order they are made, and what they count on the way."""

    def __init__(
        self, folder: Path, settings: StudySettings, encoder: Encoder, faults: Faults, seed: int, *, packed: bool
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.encoder = encoder
        self.faults = faults
        self.seed = seed if settings.seed is None else settings.seed
        self.leave_out = settings.unmatched == "leave_out"
        self.files = SlideFiles(folder, encoder.features, settings.patient_rule)
        self.pack = pack_folder(folder, encoder) if packed and encoder.pack else None
        self.cache = digest_cache(folder)
        self.read_table = cache(read_table)  # one table may hold all cohorts
        self.counts: dict[str, dict[str, int]] = {}
        self.warnings: list[str] = []

    def open(
        self,
        listed: Sequence[str],
        selected: Sequence[str],
        *,
        required: bool,
        report: Callable[[int, int], None] | None,
    ) -> Study:
        tables = {code: self._labels(code) for code in listed if code in selected}
        if UNSAFE_NAME in {fault.kind for fault in self.faults.found}:
            self.faults.raise_any()  # before a name with ../ is looked for anywhere
        slides = self._slides(tables)
        # Where a table could not be made out, its slides would all seem to be nobody's.
        if all(table.rows for table in tables.values()) and "no project" not in {f.kind for f in self.faults.found}:
            self._strangers([code for code in listed if code not in selected])
        labels = {code: self._kept_labels(tables[code], slides[code]) for code in tables}
        splits = {code: self._splits(code, tables[code], labels[code]) for code in tables}
        empty = [code for code in tables if labels[code].empty]
        for code in empty:
            if self.leave_out and (required or self.settings.cohorts is not None or len(empty) == len(tables)):
                what = "no patient of the cohort has features"
                to_do = f"mend `features` of encoder {self.encoder.name}, or leave {code} out of `cohorts`"
                self.faults.add("cohort without features", tables[code].file, what, to_do)
        self.faults.raise_any()
        present = [code for code in tables if code not in empty]
        if empty:
            self.warnings.append(f"left out, as none of their patients has features: {', '.join(empty)}")
        paths = [path for code in present for path in slides[code].frame["path"]]
        contents = slide_digests(paths, self.cache, report)
        cohorts = {code: self._cohort(code, tables[code], slides[code], splits[code], contents) for code in present}
        self._count_labels(cohorts)
        warnings = (*self._counted(), *self.warnings)
        return Study(self.folder, self.settings.name, self.encoder, cohorts, warnings, self.settings)

    def _labels(self, code: str) -> LabelTable:
        table = self._read_labels(code, self.faults, leave_out=self.leave_out)
        self._count("rows that name no patient are left out", code, table.without_patient)
        incomplete = {row.patient for row in table.without_endpoint}
        self._count("patients without time or event are left out", code, len(incomplete))
        self._count("patients have ids written in several ways, and are one patient each", code, table.joined)
        self._count(
            "patients differ between rows in a clinical column; the first value counts", code, table.clinical_differs
        )
        return table

    def _read_labels(self, code: str, faults: Faults, *, leave_out: bool) -> LabelTable:
        table = read_cohort_labels(
            label_sources(code, self.folder, self.settings, self._shown),
            faults,
            leave_out=leave_out,
            columns=self.settings.columns,
            rule=self.settings.patient_rule,
            read=self.read_table,
        )
        return table if self.settings.columns.slide else self._with_slides(code, table)

    def _with_slides(self, code: str, table: LabelTable) -> LabelTable:
        """`table`, which has no column of slides, with a row for each slide that is a patient's by its name."""
        rows, packed = [], self._packed_slides(code)
        for row in {row.patient: row for row in reversed(table.rows)}.values():
            slides = self.files.slides_of(code=code, project=row.project, patient=row.patient)
            slides = slides or packed.get(row.patient, [])
            rows += [replace(row, slide=slide) for slide in slides or [""]]
        return replace(table, rows=tuple(sorted(rows, key=lambda row: (row.file, row.row))))

    def _pack_of(self, code: str) -> Path | None:
        """The folder in which the pack of a cohort would be."""
        return None if self.pack is None else self.pack / code

    def _packed_slides(self, code: str) -> dict[str, list[str]]:
        """The packed slides of each patient, in the order of their names."""
        pack = self._pack_of(code)
        packed = packed_cohort(pack) if pack is not None else {}
        found: dict[str, list[str]] = {}
        for name in sorted(packed):
            found.setdefault(packed[name].patient, []).append(name)
        return found

    def _slides(self, tables: Mapping[str, LabelTable]) -> dict[str, SlideTable]:
        files, faults, leave_out = self.files, self.faults, self.leave_out
        for code, table in tables.items():
            self._claim(code, table.without_endpoint)
        found = {
            code: locate_slides(
                code, table, files, faults, shown=self._shown, leave_out=leave_out, pack=self._pack_of(code)
            )
            for code, table in tables.items()
        }
        known = known_headers((path for slides in found.values() for path in slides.frame["path"]), self.cache)
        return {code: self._checked(code, slides, known) for code, slides in found.items()}

    def _checked(self, code: str, found: SlideTable, known: Mapping[str, tuple[int, int]]) -> SlideTable:
        self._count("patients without features are left out", code, found.patients_without)
        self._count("slides without a feature file are left out", code, found.slides_without)
        checked = check_headers(code, found, self.encoder, self.faults, shown=self._shown, known=known)
        told = [replace(slide, path=self._shown(slide.path)) for slide in checked.unusable]
        self.warnings += [f"{code}: {line}" for line in skipped_by_reason(told)]
        return checked

    def _strangers(self, unselected: Sequence[str]) -> None:
        # A folder may hold slides of cohorts that are not selected: their label tables say so.
        for code in unselected:
            self._claim(code, self._read_labels(code, Faults(""), leave_out=True).rows)
        strangers = not_in_labels(self.files, self.faults, shown=self._shown, leave_out=self.leave_out)
        self._count("feature files of slides no label row names are left out", self.encoder.name, strangers)

    def _claim(self, code: str, rows: Sequence[LabelRow]) -> None:
        """Note that the slides of `rows` are somebody's, though they are not used."""
        for row in rows:
            if row.slide and is_plain_name(row.slide):
                self.files.expected(code=code, project=row.project, patient=row.patient, slide=row.slide)

    def _kept_labels(self, table: LabelTable, slides: SlideTable) -> pd.DataFrame:
        patients = table.patients()
        return patients[patients.index.isin(slides.frame["patient_id"].unique())]

    def _splits(self, code: str, table: LabelTable, labels: pd.DataFrame) -> tuple[Fold, ...] | None:
        """The cohort's folds, or None where they are to be made once everything else has been found right."""
        paths = self._split_paths(code)
        beyond = study_path(self.folder, self.settings.splits, cohort=code, fold=self.settings.folds)
        there = [path.exists() for path in (*paths, beyond)]
        if not any(there):
            if table.rows and 0 < len(labels) < self.settings.folds:
                what = f"{len(labels)} patients cannot fill {self.settings.folds} folds"
                self.faults.add("too few patients", table.file, what, "lower `folds` or leave the cohort out")
            return None
        if there != [True] * self.settings.folds + [False]:
            exist = ", ".join(str(fold) for fold, exists in enumerate(there) if exists)
            what = f"splits of folds {exist} are there, but study.yaml says folds: {self.settings.folds}"
            to_do = "mend `folds`, add what is missing, or remove all of the cohort's splits to have them made"
            self.faults.add("wrong number of splits", self._shown(paths[0]), what, to_do)
            return ()
        incomplete = {row.patient for row in table.without_endpoint}
        everyone = frozenset({row.patient for row in table.rows} | incomplete)
        if not table.rows:
            return ()
        shown = [self._shown(path) for path in paths]
        known = SplitPatients(everyone, {row.slide: row.patient for row in table.rows}, self.settings.patient_rule)
        columns = self.settings.splits_columns
        found = read_splits(paths, shown, known, self.faults, leave_out=self.leave_out, columns=columns)
        self._count("patients of split files without a label are left out", code, found.unknown)
        self._count("ids in split files are slides and are read as their patients", code, found.slides)
        kept = tuple(fold.keep(set(labels.index)) for fold in found.folds)
        if self.leave_out and not labels.empty:
            why = {id_: "without time or event" if id_ in incomplete else "without features" for id_ in everyone}
            check_kept(found.folds, kept, shown, why, self.faults)
        tested = {patient for fold in kept for patient in fold.test}
        self._count(
            "patients are in no test fold and get no prediction of their own cohort",
            code,
            len(set(labels.index) - tested),
        )
        return kept

    def _split_paths(self, code: str) -> list[Path]:
        folds = range(self.settings.folds)
        return [study_path(self.folder, self.settings.splits, cohort=code, fold=fold) for fold in folds]

    def _cohort(
        self,
        code: str,
        table: LabelTable,
        slides: SlideTable,
        splits: tuple[Fold, ...] | None,
        contents: Mapping[str, str | None],
    ) -> Cohort:
        labels = self._kept_labels(table, slides)
        clinical = table.clinical().loc[labels.index]
        if splits is None:
            splits = self._made_splits(code, labels, clinical["site"])
            paths = self._split_paths(code)
            try:
                write_splits(paths, splits)
            except OSError as error:
                raise StudyError(
                    f"{paths[0]}: cannot be written ({error.strerror}); splits are made once and kept, so make the "
                    "folder writable or give `splits` in study.yaml an absolute path elsewhere"
                ) from error
        encoder, frame, info = self.encoder, slides.frame, cohort_info(code)
        identity = cohort_identity(encoder.name, encoder.dim, labels, splits, frame, contents)
        slides, other = use_packed(slides, self._pack_of(code), contents)
        self._count("slides have changed since they were packed and are read from their files", code, other)
        frame = slides.frame
        return Cohort(info, labels, frame, splits, encoder, identity.fingerprint, identity, slides.unusable, clinical)

    def _made_splits(self, code: str, labels: pd.DataFrame, site: pd.Series) -> tuple[Fold, ...]:
        """New folds, by site where study.yaml asks for it and the cohort's sites allow it."""
        by_site = self.settings.splits_by_site
        made, why_not = fresh_folds(labels, site, self.settings.folds, self.seed, code, by_site=by_site)
        if why_not:
            self.warnings.append(f"{why_not}. Its folds are stratified by event and project, and share sites")
        return made

    def _count_labels(self, cohorts: dict[str, Cohort]) -> None:
        owners: dict[str, int] = {}
        for code, cohort in cohorts.items():
            self._count("patients have a time of 0 days and are kept", code, int((cohort.labels["time"] == 0).sum()))
            for patient in cohort.labels.index:
                owners[person_of(patient)] = owners.get(person_of(patient), 0) + 1
        if shared := sum(1 for times in owners.values() if times > 1):
            self.warnings.append(f"{shared} patients are in more than one cohort; no model scores one it has seen")
        if without := [code for code, cohort in cohorts.items() if not cohort.labels["event"].any()]:
            self.warnings.append(f"no patient has an event, so no C-index can be had: {', '.join(without)}")

    def _count(self, what: str, where: str, number: int) -> None:
        if number:
            self.counts.setdefault(what, {})[where] = number

    def _counted(self) -> list[str]:
        return [
            f"{sum(by_cohort.values())} {what} ({', '.join(f'{code} {n}' for code, n in by_cohort.items())})"
            for what, by_cohort in self.counts.items()
        ]

    def _shown(self, path: str | Path) -> str:
        """`path` as messages name it: relative to the study where it lies inside."""
        relative = os.path.relpath(path, self.folder)
        return str(path) if relative.startswith("..") else relative
