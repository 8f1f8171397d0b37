"""The index of a cohort's pack: which rows of which file a slide is, and what it was made from.

A pack is a folder with a folder for each cohort, which holds `index.parquet` and files NAME.safetensors with two
tensors: `features` (P, D) and `coords` (P, 2) float64, the patches of many slides one after the other. In the tables of
an opened study a packed slide's path is COHORT_FOLDER/SLIDE.packed; no such file is on the disk.
"""

from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import pandas as pd

from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault, fault_of

INDEX = "index.parquet"
SUFFIX = ".packed"
EXACT = {
    "float16": ("float16", "float32"),
    "bfloat16": ("bfloat16", "float32"),
    "float32": ("float32",),
    "float64": ("float32",),
}
"""For each type of a slide's file, the types that hold its numbers as they are read (float64 is read as float32)."""


@dataclass(frozen=True)
class PackedSlide:
    """A row of the index.

    file: name of the safetensors file, "" for a slide that could not be packed; its `fault` and `reason` say why.
    first, patches: its rows are first .. first + patches - 1. dtype, source_dtype: of the packed numbers, and of those
    of the file. coordinates: the type of the file's coordinates, "" where it has none (packed as NaN). encoder: as the
    file names it, or "". digest: of the content of the slide's file (data/digests.py), "" where it could not be read.
    checksum: SHA-256 (hexadecimal) of the packed bytes, features and then coordinates.
    """

    patient: str
    slide: str
    file: str
    first: int
    patches: int
    width: int
    dtype: str
    source_dtype: str
    coordinates: str
    encoder: str
    digest: str
    checksum: str
    fault: str = ""
    reason: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether the packed numbers are those of the file."""
        return self.dtype in EXACT.get(self.source_dtype, ())


def write_index(path: Path, slides: list[PackedSlide]) -> None:
    """Write an index to `path`."""
    columns = [item.name for item in fields(PackedSlide)]
    pd.DataFrame([asdict(slide) for slide in slides], columns=columns).to_parquet(path, index=False)


def load_index(path: Path) -> list[PackedSlide]:
    """The slides of the index at `path`. Raises FeatureFileError where it cannot be read."""
    try:
        table = pd.read_parquet(path, columns=[item.name for item in fields(PackedSlide)])
        return [PackedSlide(*row) for row in table.itertuples(index=False, name=None)]
    except (OSError, ValueError, TypeError) as error:
        raise fault_of(error) from error


def packed_cohort(folder: Path) -> dict[str, PackedSlide]:
    """The packed slides of one cohort's folder, by name; none where it has no index. Read once while it is the same."""
    try:
        changed = (folder / INDEX).stat().st_mtime_ns
    except OSError:
        return {}
    return _packed_cohort(folder, changed)


@lru_cache(maxsize=64)
def _packed_cohort(folder: Path, changed: int) -> dict[str, PackedSlide]:  # noqa: ARG001 (part of what is remembered)
    return {slide.slide: slide for slide in load_index(folder / INDEX)}


def packed_path(folder: Path, slide: str) -> str:
    """The path that stands for a packed slide of the cohort in `folder`."""
    return str(folder / f"{slide}{SUFFIX}")


def is_packed(path: str | Path) -> bool:
    """Whether `path` stands for a packed slide."""
    return str(path).endswith(SUFFIX)


def packed_slide(path: str | Path) -> PackedSlide:
    """The row of the index that `path` stands for. Raises FeatureFileError where there is none."""
    path = Path(path)
    found = packed_cohort(path.parent).get(path.name.removesuffix(SUFFIX))
    if found is None:
        raise FeatureFileError(SlideFault.MISSING, f"is not in {path.parent / INDEX}; pack the cohort again")
    return found
