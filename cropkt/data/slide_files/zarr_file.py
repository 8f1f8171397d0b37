"""Feature folders in zarr (format 2 or 3): arrays named as in HDF5, or raw2features' `grids/<key>/features/<model>`."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cropkt.data.slide_files.slide_content import (
    COORDINATE_NAMES,
    FEATURE_NAMES,
    SlideContent,
    choose_features,
    encoder_in,
    require_floating,
    require_stored,
)
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault, fault_of, require_regular


@contextmanager
def opened_zarr(path: Path) -> Iterator[SlideContent]:
    """The content of the zarr folder at `path`. Any failure becomes a FeatureFileError.

    Chunks that are not there read as zeros, and zarr leaves out chunks of zeros, so only a store that is mostly missing
    is refused here; the others show when their rows are read.
    """
    require_regular(path, is_folder=True)
    try:
        import zarr
    except ImportError as error:
        reason = "is a zarr folder, and zarr is not installed: pip install 'cropkt[zarr]'"
        raise FeatureFileError(SlideFault.NO_READER, reason, passing=True) from error
    try:
        opened = zarr.open(path, mode="r")
        content = _content(opened, zarr)
        features = content.features
        require_stored(features.size * features.dtype.itemsize, stored_bytes(path))
        yield content
    except FeatureFileError:
        raise
    except Exception as error:  # zarr fails in as many ways as there are damaged stores
        raise fault_of(error) from error


def _content(opened: Any, zarr: Any) -> SlideContent:
    if isinstance(opened, zarr.Array):
        named, held = {FEATURE_NAMES[0]: opened}, ""
    else:
        arrays = dict(opened.arrays())
        named = {name: arrays[name] for name in FEATURE_NAMES if name in arrays} or _in_grids(opened)
        held = ", ".join(sorted(opened.keys())[:8])
    features = choose_features(named, held)
    require_floating(str(features.dtype))
    beside = _beside(opened, features)
    coordinates = next((beside[name] for name in COORDINATE_NAMES if name in beside), None)
    return SlideContent(features, coordinates, lambda: encoder_in(features.attrs, opened.attrs))


def _in_grids(group: Any) -> dict[str, Any]:
    """Arrays of a raw2features store, one per grid and model."""
    found: dict[str, Any] = {}
    for key, grid in group["grids"].groups() if "grids" in group else ():
        if "features" in grid:
            found |= {f"grids/{key}/features/{name}": array for name, array in grid["features"].arrays()}
    return found


def _beside(opened: Any, features: Any) -> dict[str, Any]:
    """The arrays of the grid, or else the store, that `features` is in."""
    parts = features.path.split("/")
    if len(parts) == 4:
        opened = opened["/".join(parts[:2])]
    return dict(opened.arrays()) if hasattr(opened, "arrays") else {}


def store_files(path: str | Path) -> list[tuple[str, os.stat_result]]:
    """Every file in the folder `path` by its path inside it, sorted. Raises FeatureFileError for pipes and devices."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            status = os.stat(file)
            if not stat.S_ISREG(status.st_mode):
                require_regular(file)
            found.append((os.path.relpath(file, path), status))
    return sorted(found, key=lambda item: item[0])


def stored_bytes(path: Path) -> int:
    """Bytes of all files in the folder `path`."""
    return sum(status.st_size for _, status in store_files(path))
