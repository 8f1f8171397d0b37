"""A slide's own picture, where its file is there and openslide or tiffslide is installed."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cropkt.errors import InputError

READERS = {"openslide": "OpenSlide", "tiffslide": "TiffSlide"}
"""Packages that read slides alike, and their class."""
SUFFIXES = (".svs", ".ndpi", ".tif", ".tiff", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".czi", ".dcm")
LONGEST_EDGE = 3000
"""Pixels of a thumbnail: 300 dpi over two columns of a journal are 2,160."""


@dataclass(frozen=True)
class SlideImage:
    """A thumbnail (H, W, 3) of a slide of width x height pixels at full resolution, and their size in micrometres."""

    thumbnail: np.ndarray
    width: int
    height: int
    microns_per_pixel: float | None


def read_slide_image(path: Path) -> SlideImage:
    """Raises InputError where no reader is installed or the file cannot be read."""
    package = next((name for name in READERS if find_spec(name)), None)
    if package is None:
        raise InputError(f"{path}: to read slides, `pip install openslide-python openslide-bin`, or leave --image out")
    try:
        slide = getattr(import_module(package), READERS[package])(str(path))
        width, height = slide.dimensions
        thumbnail = slide.get_thumbnail((LONGEST_EDGE, LONGEST_EDGE)).convert("RGB")
        return SlideImage(np.asarray(thumbnail), width, height, _scale(slide.properties, package))
    except Exception as error:  # readers raise what they like
        raise InputError(f"the slide {path} cannot be read by {package} ({error}); leave --image out") from error


def _scale(properties: Any, package: str) -> float | None:
    try:
        return float(properties[f"{package}.mpp-x"])
    except (KeyError, TypeError, ValueError):
        return None


def image_of(slide: str, place: Path) -> Path | None:
    """The file of `slide` in the folder `place`, by its name without suffix or up to its first dot; or `place` itself,
    if it is a file. None where there is none."""
    if place.is_file():
        return place
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and slide in (path.stem, path.name.split(".", 1)[0]):
            return path
    return None
