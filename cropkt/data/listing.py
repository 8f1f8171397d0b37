"""Which file holds which slide: every folder is listed once, and no file is looked for one by one."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cropkt.data.settings import study_path
from cropkt.errors import StudyError


@dataclass(frozen=True)
class Folder:
    """One listing: file `names`, and those with a given name up to the first dot."""

    exists: bool
    names: frozenset[str]
    by_stem: dict[str, tuple[str, ...]]


@dataclass
class SlideFiles:
    """Finds slides' feature files under one encoder's `pattern`, in the study at `root`."""

    root: Path
    pattern: str
    folders: dict[str, Folder] = field(default_factory=dict)
    claimed: set[tuple[str, str]] = field(default_factory=set)
    """(folder, name up to the first dot or whole name) of every slide that has been asked for."""

    def expected(self, *, cohort: str, project: str, patient: str, slide: str) -> tuple[str, str]:
        """Folder and file name the pattern gives a slide, noted as asked for."""
        short = project.removeprefix("TCGA-")
        path = study_path(self.root, self.pattern, cohort=cohort, project=short, patient=patient, slide=slide)
        folder, name = os.path.split(path)
        self.claimed.add((folder, name))
        self.claimed.add((folder, os.path.splitext(name)[0]))
        return folder, name

    def find(self, folder: str, name: str) -> tuple[str, ...]:
        """Paths of the files that may be the slide whose file `name` is expected in `folder`.

        One, none, or several between which nothing decides. The exact name comes first; else files whose name goes on
        after the slide's id (`TCGA-OR-A5J1-01Z-00-DX1.<UUID>.h5`), as published.
        """
        listing = self.listing(folder)
        if name in listing.names:
            return (os.path.join(folder, name),)
        stem, suffix = os.path.splitext(name)
        found = (other for other in listing.by_stem.get(stem, ()) if other.endswith(suffix))
        return tuple(os.path.join(folder, other) for other in found)

    def listing(self, folder: str) -> Folder:
        """The files of `folder`, read from disk once."""
        if folder not in self.folders:
            self.folders[folder] = _list(folder)
        return self.folders[folder]

    def not_asked_for(self) -> list[tuple[str, str]]:
        """(path, slide) of feature files in the listed folders that belong to no slide that was asked for."""
        suffix = os.path.splitext(self.pattern)[1]
        before, after = os.path.basename(self.pattern).removesuffix(suffix).split("{slide}", 1)
        strangers = []
        for folder, listing in self.folders.items():
            for name in sorted(listing.names):
                stem = name.split(".", 1)[0]
                if not name.endswith(suffix) or (folder, name) in self.claimed or (folder, stem) in self.claimed:
                    continue
                slide = stem.removeprefix(before).removesuffix(after)
                strangers.append((os.path.join(folder, name), slide))
        return strangers


def _list(folder: str) -> Folder:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return Folder(False, frozenset(), {})
    except OSError as error:
        raise StudyError(f"{folder}: cannot be listed ({error.strerror}); make the folder readable") from error
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(name.split(".", 1)[0], []).append(name)
    return Folder(True, frozenset(names), {stem: tuple(of_stem) for stem, of_stem in by_stem.items()})
