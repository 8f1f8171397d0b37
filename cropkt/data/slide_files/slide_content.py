"""What the three kinds of feature files have in common: names, shapes, and a look at what was promised and is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault

FEATURE_NAMES = ("features", "feats", "embeddings", "feature", "embedding", "patch_features", "tile_features", "x")
COORDINATE_NAMES = ("coords", "coordinates", "coord")
ENCODER_NAMES = ("encoder", "patch_encoder", "extractor", "encoder_name", "model", "model_name")
"""Attributes that name the encoder (TRIDENT `encoder`, STAMP `extractor`, raw2features `model`). `name` is none of
them: TRIDENT and CLAM keep the slide's name there."""

FLOATING = ("float16", "bfloat16", "float32", "float64")
MOST_COMPRESSION = 100
"""Features hardly compress. A file that promises a hundred times the bytes it holds was not written to the end."""


@dataclass(frozen=True)
class SlideContent:
    """An open feature file: `features` (N, D) or (1, N, D) and `coordinates`, h5py datasets, zarr arrays or tensors,
    not read yet; `encoder` gives the name of the encoder or None.
    """

    features: Any
    coordinates: Any | None
    encoder: Callable[[], str | None]

    @property
    def shape(self) -> tuple[int, int]:
        """Patches N and width D, both at least 1. Raises FeatureFileError."""
        return two_axes(self.features.shape)


def choose_features(named: Mapping[str, Any], inside: str) -> Any:
    """The one array of `named` that holds features; `inside` lists everything in the file, for the message."""
    if not named:
        known = ", ".join(FEATURE_NAMES)
        reason = f"holds no features: none of {known}; it holds {inside or 'nothing'}"
        raise FeatureFileError(SlideFault.NO_FEATURES, f"{reason}; rename the array that holds them")
    if len(named) > 1:
        named = {name: array for name, array in named.items() if len(array.shape or ()) > 1} or named
    if len(named) > 1:
        reason = f"holds several arrays that may be the features: {', '.join(named)}; keep one of them"
        raise FeatureFileError(SlideFault.AMBIGUOUS, reason)
    return next(iter(named.values()))


def two_axes(shape: Any) -> tuple[int, int]:
    """(N, D) of an array of shape (N, D) or (1, N, D). Raises FeatureFileError for others and for no patches."""
    sizes = tuple(int(size) for size in shape or ())
    if 0 in sizes:
        raise FeatureFileError(SlideFault.NO_PATCHES, f"has no patches (features of shape {sizes})")
    if len(sizes) == 3 and sizes[0] == 1:
        sizes = sizes[1:]
    if len(sizes) != 2:
        reason = f"holds features of shape {sizes}, not (patches, width) or (1, patches, width)"
        raise FeatureFileError(SlideFault.SHAPE, reason)
    return sizes[0], sizes[1]


def require_floating(dtype: str) -> None:
    """Refuse features of any number type but float16, bfloat16, float32 and float64."""
    if dtype not in FLOATING:
        reason = f"holds features of type {dtype}, not floating point ({', '.join(FLOATING)})"
        raise FeatureFileError(SlideFault.TYPE, reason)


def require_stored(promised: int, stored: int) -> None:
    """Refuse features of `promised` bytes of which the file cannot hold more than a fraction in its `stored` bytes."""
    if promised > MOST_COMPRESSION * stored:
        reason = (
            f"promises {promised:,} bytes of features and holds {stored:,}; the extraction did not end: run it again"
        )
        raise FeatureFileError(SlideFault.UNWRITTEN, reason)


def require_matching(coordinates: Any | None, n_patches: int) -> None:
    """Refuse coordinates that are not one row of at least two numbers per patch."""
    if coordinates is None:
        return
    shape = tuple(int(size) for size in coordinates.shape or ())
    rows = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    if len(rows) != 2 or rows[0] != n_patches or rows[1] < 2:
        reason = f"holds coordinates of shape {shape} for {n_patches} patches; extract the slide again"
        raise FeatureFileError(SlideFault.COORDINATES, reason)


def encoder_in(*attributes: Mapping[str, Any]) -> str | None:
    """The encoder's name in the first of `attributes` that has one."""
    for held in attributes:
        for name in ENCODER_NAMES:
            value = held.get(name)
            if isinstance(value, bytes):
                value = value.decode(errors="replace")
            if isinstance(value, str) and value.strip():
                return value.strip()
    return None
