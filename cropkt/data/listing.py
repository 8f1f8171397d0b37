"""Which file holds which slide: every folder is listed once, and no file is looked for one by one."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cropkt.data.persons import TCGA, person_of
from cropkt.data.slide_files.slide_names import patient_keys, slide_id
from cropkt.data.study_yaml.patterns import study_path
from cropkt.errors import StudyError


@dataclass(frozen=True)
class Folder:
    """One listing, of a folder or of all that a name with * stands for: paths by file name, and by slide."""

    exists: bool
    paths: dict[str, tuple[str, ...]]
    by_slide: dict[str, tuple[str, ...]]


@dataclass
class SlideFiles:
    """Finds slides' feature files under one encoder's `patterns`, in the study at `root`.

    `patient_rule` says which part of a slide's name is the patient (`persons.patient_id`).
    """

    root: Path
    patterns: tuple[str, ...]
    patient_rule: str = TCGA
    folders: dict[str, Folder] = field(default_factory=dict)
    claimed: set[tuple[str, str]] = field(default_factory=set)
    """(folder, name without suffix) of every slide that has been asked for."""
    asked_under: dict[str, str] = field(default_factory=dict)
    """The pattern under which each folder has been asked for."""
    of_patients: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By folder and person, the slides that are the person's by their names."""

    def expected(self, *, code: str, project: str, patient: str, slide: str) -> list[tuple[str, str]]:
        """Folder and file name each pattern gives a slide, noted as asked for."""
        places = list(self._places(code, project, patient, slide))
        self.claimed.update((folder, os.path.splitext(name)[0]) for folder, name in places)
        return places

    def find(self, places: list[tuple[str, str]]) -> tuple[str, ...]:
        """Paths of the files that may be the slide whose file is expected in `places`.

        One, none, or several between which nothing decides. In a folder the exact name comes first; else files whose
        name goes on after the slide's id (`TCGA-OR-A5J1-01Z-00-DX1.<UUID>.h5`), as published. Suffixes count
        in any case.
        """
        found: list[str] = []
        for folder, name in places:
            listing = self.listing(folder)
            stem, suffix = os.path.splitext(name)
            longer = [path for path in listing.by_slide.get(stem, ()) if path.lower().endswith(suffix.lower())]
            found += listing.paths.get(name, longer)
        return tuple(dict.fromkeys(found))

    def slides_of(self, *, code: str, project: str, patient: str) -> list[str]:
        """The slides that are `patient`'s by the names of their files, in the order of their names."""
        slides: set[str] = set()
        for folder, _ in self._places(code, project, patient, ""):
            if folder not in self.of_patients:
                self.of_patients[folder] = self._by_patient(folder)
            by_patient = self.of_patients[folder]
            slides.update(by_patient.get(person_of(patient), ()), by_patient.get(patient.casefold(), ()))
        return sorted(slides)

    def listing(self, folder: str) -> Folder:
        """The files of `folder`, read from disk once."""
        if folder not in self.folders:
            wild = "*" in os.path.dirname(self.asked_under.get(folder, ""))
            self.folders[folder] = _list(sorted(glob.glob(folder)) if wild else [folder])
        return self.folders[folder]

    def not_asked_for(self) -> list[tuple[str, str]]:
        """(path, slide) of feature files in the listed folders that belong to no slide that was asked for."""
        return [
            (path, slide)
            for folder in self.folders
            for path, slide in self._slides_in(folder)
            if not any((folder, stem) in self.claimed for stem in _stems(os.path.basename(path)))
        ]

    def _places(self, code: str, project: str, patient: str, slide: str) -> Iterator[tuple[str, str]]:
        values = {"cohort": code, "project": project.removeprefix("TCGA-"), "patient": patient, "slide": slide}
        escaped = {key: glob.escape(value) for key, value in values.items()}
        for pattern in self.patterns:
            folder, name = os.path.split(pattern)
            wild = "*" in folder
            root = Path(glob.escape(str(self.root))) if wild else self.root
            where = str(study_path(root, folder, **(escaped if wild else values)))
            self.asked_under.setdefault(where, pattern)
            yield where, name.format(**values)

    def _slides_in(self, folder: str) -> Iterator[tuple[str, str]]:
        """(path, slide) of every feature file in `folder`."""
        pattern = os.path.basename(self.asked_under[folder])
        stem, suffix = os.path.splitext(pattern)
        before, after = stem.split("{slide}", 1)
        for name, paths in self.listing(folder).paths.items():
            if name.lower().endswith(suffix.lower()):
                own = name[: len(name) - len(suffix)]
                slide = slide_id(own.removeprefix(before).removesuffix(after))
                yield from ((path, slide) for path in paths)

    def _by_patient(self, folder: str) -> dict[str, list[str]]:
        by_patient: dict[str, list[str]] = {}
        for _, slide in self._slides_in(folder):
            for key in patient_keys(slide, self.patient_rule):
                by_patient.setdefault(key, []).append(slide)
        return by_patient


def _stems(name: str) -> tuple[str, ...]:
    """The slides a file `name` may be of: without suffix, up to the first dot, and as `slide_id` has it."""
    return (os.path.splitext(name)[0], name.split(".", 1)[0], slide_id(name))


def _list(folders: list[str]) -> Folder:
    paths: dict[str, list[str]] = {}
    exists = False
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StudyError(f"{folder}: cannot be listed ({error.strerror}); make the folder readable") from error
        exists = True
        for name in names:
            paths.setdefault(name, []).append(os.path.join(folder, name))
    by_slide: dict[str, list[str]] = {}
    for name, of_name in paths.items():
        for stem in dict.fromkeys(_stems(name)):
            by_slide.setdefault(stem, []).extend(of_name)
    frozen = ({key: tuple(value) for key, value in found.items()} for found in (paths, by_slide))
    return Folder(exists, *frozen)
