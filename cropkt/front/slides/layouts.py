"""How published tools lay out feature files: a table of layouts, and the sources of features found in a folder."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cropkt.data.slide_files.features import SUFFIXES
from cropkt.data.slide_files.slide_names import slide_id
from cropkt.errors import StudyError
from cropkt.front.slides.encoder_names import encoder_in_folders

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DEEPEST = 6
"""Folders below the one that is named; deeper ones belong to something else, or go round in a circle of links."""
NO_FEATURES = frozenset(
    ["patches", "masks", "contours", "contours_geojson", "stitches", "thumbnails", "visualization", "graph_files"]
)
"""Folders in which TRIDENT and CLAM keep coordinates and pictures in files that end as features do."""


@dataclass(frozen=True)
class Layout:
    """One way to lay out files. `folder` is found at the end of the path of a folder that holds feature files.

    Its group `encoder`, if there is one, names the encoder, and `grid` magnification and patch size. `label` says who
    writes it; `of_slides`: a file holds one vector for the slide, not its patches.
    """

    name: str
    label: str
    folder: re.Pattern[str]
    of_slides: bool = False


def _layout(name: str, label: str, folder: str, *, of_slides: bool = False) -> Layout:
    return Layout(name, label, re.compile(folder, re.IGNORECASE), of_slides)


PARTS = re.compile(r"(?:h5|pt)_files|h5|pt|features|feats|embeddings", re.IGNORECASE)
"""Names of folders for a kind of file."""
_GRID = r"/(?P<grid>[\d.]+x_\d+px_\d+px_overlap)"
LAYOUTS = (
    _layout("trident", "TRIDENT", rf"{_GRID}/features_(?P<encoder>[^/]+)$"),
    _layout(
        "trident_slides", "TRIDENT (slide encoder)", rf"{_GRID}/slide_features_(?P<encoder>[^/]+)$", of_slides=True
    ),
    _layout("clam", "CLAM", r"/(?:h5|pt)_files$"),
    _layout("gdc", "a folder per slide, as GDC's client downloads", rf"/{_UUID}$"),
    _layout("stamp", "STAMP", r"/(?P<encoder>[^/]+)-[0-9a-f]{8}$"),
    _layout("projects", "a folder per TCGA project, as the UNI2-h archive", r"/TCGA-[a-z]+(?:_[a-z]+)?$"),
    _layout("plain", "plain", r"$"),
)
"""In the order they are tried; the last one fits every folder."""


@dataclass(frozen=True)
class FeatureSource:
    """Feature files that one encoder made, laid out alike.

    `patterns` are those of study.yaml, relative to the folder that was looked through; `files` are paths. `encoder` and
    `grid` are "" where no folder names them.
    """

    layout: Layout
    encoder: str
    grid: str
    suffix: str
    patterns: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def slides(self) -> list[str]:
        """The slide of each file."""
        return [slide_id(os.path.splitext(os.path.basename(file))[0]) for file in self.files]


@dataclass(frozen=True)
class FoundFeatures:
    """Sources to use, the largest first; `notes` says which files are passed over, and why."""

    sources: tuple[FeatureSource, ...]
    notes: tuple[str, ...]


def find_sources(root: Path) -> FoundFeatures:
    """All sources of features under the folder `root`. Raises StudyError where there is no such folder."""
    if not root.is_dir():
        raise StudyError(f"{root}: there is no such folder; name the folder that holds the feature files")
    groups: dict[tuple[Layout, str, str, str], dict[str, list[str]]] = {}
    for folder, names in _folders(root):
        layout, encoder, grid = _layout_of(Path(os.path.abspath(root), folder).as_posix())
        encoder = encoder or encoder_in_folders(_naming_folders(root, folder))
        for name in names:
            key = (layout, encoder, grid, os.path.splitext(name)[1].lower())
            groups.setdefault(key, {}).setdefault(folder, []).append(name)
    sources = [_source(root, *key, folders) for key, folders in groups.items()]
    return _used(sources)


def _folders(root: Path) -> Iterable[tuple[str, list[str]]]:
    """(path below `root`, names of feature files) of every folder that holds any."""
    for folder, folders, names in os.walk(root, followlinks=True):
        below = os.path.relpath(folder, root)
        depth = 0 if below == "." else below.count(os.sep) + 1
        stores = [name for name in folders if name.lower().endswith(".zarr")]
        skipped = NO_FEATURES | set(stores) if depth < DEEPEST else set(folders)
        folders[:] = sorted(name for name in folders if name not in skipped and not name.startswith("."))
        held = sorted(
            name for name in [*names, *stores] if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        )
        if held:
            yield below, held


def _naming_folders(root: Path, below: str) -> list[str]:
    """The folders whose names may say the encoder, the innermost first: those from `root` on, and the one before it
    where `root` is only the part of one that holds a kind of file."""
    outer = Path(os.path.abspath(root))
    inner = [part for part in Path(below).parts if part != "."]
    before = [outer.parent.name] if PARTS.fullmatch(outer.name) else []
    return [*reversed(inner), outer.name, *before]


def _layout_of(path: str) -> tuple[Layout, str, str]:
    for layout in LAYOUTS:
        if found := layout.folder.search(path):
            named = found.groupdict()
            return layout, named.get("encoder") or "", named.get("grid") or ""
    raise AssertionError("the last layout fits every folder")


def _source(
    root: Path, layout: Layout, encoder: str, grid: str, suffix: str, folders: dict[str, list[str]]
) -> FeatureSource:
    files = [os.path.join(root, folder, name) for folder, names in sorted(folders.items()) for name in names]
    patterns = [os.path.join(folder, "{slide}" + suffix) for folder in _patterns(list(folders))]
    return FeatureSource(layout, encoder, grid, suffix, tuple(map(os.path.normpath, patterns)), tuple(files))


def _patterns(folders: Sequence[str]) -> list[str]:
    """Folder patterns for `folders`, one for each depth: names that differ become *."""
    by_depth: dict[int, list[list[str]]] = {}
    for folder in folders:
        names = [] if folder == "." else folder.split(os.sep)
        by_depth.setdefault(len(names), []).append(names)
    return [
        os.sep.join(_one_name(list(names)) for names in zip(*of_depth, strict=True)) if depth else ""
        for depth, of_depth in sorted(by_depth.items())
    ]


def _one_name(names: Sequence[str]) -> str:
    if len(set(names)) == 1:
        if "*" in names[0] or "?" in names[0] or "[" in names[0]:
            raise StudyError(f"the folder {names[0]!r} has one of * ? [ in its name; rename it")
        return _escaped(names[0])
    return "TCGA-*" if all(name.startswith("TCGA-") for name in names) else "*"


def _escaped(path: str) -> str:
    """`path` as study.yaml writes it, where braces hold placeholders."""
    return path.replace("{", "{{").replace("}", "}}")


def _used(sources: Sequence[FeatureSource]) -> FoundFeatures:
    """`sources` without vectors of whole slides, and without copies in another format."""
    used: list[FeatureSource] = []
    notes = []
    for source in sorted(sources, key=lambda source: (SUFFIXES.index(source.suffix), -len(source.files))):
        shown = f"{len(source.files)} files {source.patterns[0]}"
        if source.layout.of_slides:
            notes.append(f"{shown}: one vector a slide, no patches; passed over")
        elif copy := next((known for known in used if _copies(source, known)), None):
            notes.append(f"{shown}: the slides of {copy.patterns[0]} again; the {copy.suffix} files are used")
        else:
            used.append(source)
    return FoundFeatures(tuple(sorted(used, key=lambda source: (-len(source.files), source.patterns))), tuple(notes))


def _copies(origin: FeatureSource, known: FeatureSource) -> bool:
    """Are most slides of `origin` in `known` too, made alike, in another format?"""
    if (origin.layout, origin.encoder, origin.grid) != (known.layout, known.encoder, known.grid):
        return False
    slides = set(origin.slides)
    return 2 * len(slides & set(known.slides)) > len(slides)
