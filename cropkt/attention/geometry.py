"""Where a slide's patches lie, and how large they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cropkt.data.slide_files.features import read_coordinates
from cropkt.data.slide_files.slide_content import COORDINATE_NAMES
from cropkt.errors import InputError

PIXELS, MICROMETRES = "pixels", "micrometres"


@dataclass(frozen=True)
class Patches:
    """Squares of one slide. corners: (N, 2) x and y of their upper left corners; size: of an edge; both in `unit`,
    pixels of the full resolution or micrometres. size_from: where the size is known from."""

    corners: np.ndarray
    size: float
    unit: str
    size_from: str

    def in_pixels(self, microns_per_pixel: float | None) -> "Patches":
        """The same patches in pixels. Raises InputError where they are in micrometres and the scale is not known."""
        if self.unit == PIXELS:
            return self
        if microns_per_pixel is None:
            raise InputError("its coordinates are in micrometres; give --microns-per-pixel, or the slide's image")
        corners, size = self.corners / microns_per_pixel, self.size / microns_per_pixel
        return replace(self, corners=corners, size=size, unit=PIXELS)


def read_patches(path: Path, size: float | None = None) -> Patches:
    """The patches of a feature file; `size`, where it is given, is that of an edge in the unit of the coordinates.

    Raises InputError for a file without coordinates, or with all patches in one place, and FeatureFileError.
    """
    corners = read_coordinates(path)
    if corners is None:
        raise InputError(f"{path}: holds no coordinates ({', '.join(COORDINATE_NAMES)}); extract it with coordinates")
    corners = np.asarray(corners, dtype=np.float64)
    if len(corners) > 1 and (corners == corners[0]).all():
        raise InputError(f"{path}: all its {len(corners)} patches have the same coordinates; extract it again")
    attributes = _attributes(path)
    unit = MICROMETRES if _text(attributes.get("unit")) in ("um", "µm", "micron", "microns") else PIXELS
    if size is not None:
        return Patches(corners, size, unit, "--patch-size")
    found = _stated_size(attributes, unit)
    if found is not None:
        return Patches(corners, found, unit, "the file's attributes")
    if len(corners) == 1:
        raise InputError(f"{path}: has one patch, and nothing says how large it is; give --patch-size")
    return Patches(corners, spacing(corners), unit, "the distance between neighbours")


def spacing(corners: np.ndarray) -> float:
    """The most frequent distance of neighbours in a row or a column of patches: their size, if they do not overlap."""
    steps = []
    for along, across in ((0, 1), (1, 0)):
        order = np.lexsort((corners[:, along], corners[:, across]))
        step = np.diff(corners[order], axis=0)
        steps.append(step[(step[:, across] == 0) & (step[:, along] > 0), along])
    values, counts = np.unique(np.round(np.concatenate(steps), 3), return_counts=True)
    if not len(values):
        raise InputError("no two patches lie in one row or column, so their size is unknown; give --patch-size")
    return float(values[counts.argmax()])


def _attributes(path: Path) -> dict[str, Any]:
    """Attributes of an HDF5 file and of its coordinates, the latter first."""
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return {}
    with h5py.File(path, "r", locking=False) as file:
        held = next((file[name] for name in COORDINATE_NAMES if name in file), None)
        return {**file.attrs, **(held.attrs if held is not None else {})}


def _stated_size(attributes: Mapping[str, Any], unit: str) -> float | None:
    """Edge of a patch as TRIDENT (patch_size_level0), STAMP (tile_size_um) or CLAM (patch_size, downsample) note it."""
    if unit == MICROMETRES:
        return _number(attributes.get("tile_size_um"))
    stated = _number(attributes.get("patch_size_level0"))
    at_level, factor = _number(attributes.get("patch_size")), _number(attributes.get("downsample"))
    if stated is None and at_level is not None and factor is not None:
        return at_level * factor
    return stated


def _number(value: Any) -> float | None:
    """The first number in an attribute, if it is positive."""
    try:
        found = float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        return None
    return found if np.isfinite(found) and found > 0 else None


def _text(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip().casefold()
