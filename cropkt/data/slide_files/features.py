"""Feature files of one slide, as the field's tools write them.

An `.h5` or `.hdf5` file (TRIDENT, CLAM, STAMP, UNI2-h) or a `.zarr` folder (raw2features) holds `features` (also
`feats`, `embeddings`) (N, D) or (1, N, D) and, optionally, `coords` (N, 2) or (1, N, 2): N patches of D numbers, and
the position of each patch on the slide. A `.pt` file holds the features as a tensor or a NumPy array, or a dict with
them under one of these names. Everything that is wrong is a FeatureFileError with a named fault (see `slide_faults`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cropkt.data.packs.index import is_packed
from cropkt.data.slide_files.h5_file import opened_h5
from cropkt.data.slide_files.slide_content import SlideContent, require_matching
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault
from cropkt.data.slide_files.stored_rows import ROWS_AT_ONCE, are_known, stored_rows
from cropkt.files import atomic_path

if TYPE_CHECKING:
    import torch

__all__ = [
    "SUFFIXES",
    "FeatureFileError",
    "SlideFault",
    "encoder_named_in",
    "header",
    "opened_slide",
    "read_coordinates",
    "read_features",
    "read_features_into",
    "read_parts",
    "write_h5",
]

SUFFIXES = (".h5", ".hdf5", ".pt", ".zarr")
"""In lower case; files may have them in any case, as copies made on Windows do."""
LARGEST_FEATURE = 1e8
"""No encoder gives such numbers (the largest of any features we know, areas in square micrometres, are 4e6); memory
that was never set, and files read in the wrong byte order, do."""
ZERO_PATCHES = 0.01
"""No encoder gives a patch features that are all exactly zero: more than this share of them was never written."""


def header(path: str | Path) -> tuple[int, int]:
    """Patches N >= 1 and width D of a slide's file, without reading its features.

    Raises FeatureFileError for everything that can be seen without reading them, coordinates of another length
    included.
    """
    with opened_slide(path) as content:
        require_matching(content.coordinates, content.shape[0])
        return content.shape


def read_features(path: str | Path) -> np.ndarray:
    """Features (N, D) as stored, float16, 32 or 64 (bfloat16 becomes float32). Raises FeatureFileError."""
    import torch

    with opened_slide(path) as content:
        shape = content.shape
        features = content.features
        if isinstance(features, torch.Tensor):
            tensor = features.float() if features.dtype == torch.bfloat16 else features
            values = np.array(tensor.reshape(shape).numpy())
        else:
            values = _native(features[...]).reshape(shape)
    seen = _Values()
    seen.add(*_extremes(torch.from_numpy(values)))
    seen.require_plausible()
    return values


def read_features_into(path: str | Path, destination: "torch.Tensor") -> None:
    """Fill the contiguous CPU tensor `destination` (N, D) with a slide's features, converted to its dtype.

    Raises FeatureFileError when the file cannot be read, its shape is another one, or its values are none that an
    encoder gives.
    """
    import torch

    seen = _Values()
    with opened_slide(path) as content:
        _require_shape(content.shape, (len(destination), destination.shape[1]))
        end = 0
        for block in _blocks(Path(path), content):
            source = block if isinstance(block, torch.Tensor) else torch.from_numpy(_native(block))
            seen.add(*_convert(source, destination[end : end + len(block)]))
            end += len(block)
    seen.require_plausible()


def _blocks(path: Path, content: SlideContent) -> "Iterator[torch.Tensor | np.ndarray]":
    """The features of `content`, the open file `path`, in blocks (n, D), in order."""
    features = content.features
    if isinstance(features, h5py.Dataset) and are_known(features):
        yield from stored_rows(path, features)
    else:
        yield features[...].reshape(content.shape)


def read_parts(path: str | Path, shape: tuple[int, int], dtype: "torch.dtype", n_rows: int) -> "Iterator[torch.Tensor]":
    """A slide's features of `shape` (N, D) in parts of `n_rows` patches of `dtype`, one after the other.

    Raises FeatureFileError as `read_features_into` does; for values that no encoder gives, after the last part only.
    """
    import torch

    seen = _Values()
    with opened_slide(path) as content:
        _require_shape(content.shape, shape)
        features = content.features if len(content.features.shape) == 2 else _FirstOfOne(content.features)
        for start in range(0, shape[0], n_rows):
            held = features[start : start + n_rows]
            source = held if isinstance(held, torch.Tensor) else torch.from_numpy(_native(held))
            part = torch.empty(source.shape, dtype=dtype)
            seen.add(*_convert(source, part))
            yield part
            del held, source, part  # whoever takes parts decides how long they live
    seen.require_plausible()


class _FirstOfOne:
    """An array (1, N, D), of which only what is asked for is read, as one (N, D)."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __getitem__(self, rows: slice) -> Any:
        return self._array[0, rows]


def read_coordinates(path: str | Path) -> np.ndarray | None:
    """Patch positions (N, 2) as stored (pixels; STAMP: micrometres), or None for a file without any.

    Raises FeatureFileError, also where there is not one position a patch.
    """
    with opened_slide(path) as content:
        if content.coordinates is None:
            return None
        require_matching(content.coordinates, content.shape[0])
        values = np.asarray(content.coordinates[...])
        return values.reshape(content.shape[0], -1)[:, :2]


def encoder_named_in(path: str | Path) -> str | None:
    """The encoder's name as the tool that wrote the file noted it, or None. Raises FeatureFileError."""
    with opened_slide(path) as content:
        return content.encoder()


def write_h5(path: str | Path, features: np.ndarray, coords: np.ndarray) -> None:
    """Write `features` (N, D) and `coords` (N, 2) in the published layout, (1, N, D) and (1, N, 2), dtypes as given.

    The file appears whole or not at all, and the same arrays give the same bytes. Nobody waits for the disk: after a
    power failure a file may be damaged, which its readers see.
    """
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise ValueError(f"{path}: features {features.shape} and coords {coords.shape} are not (N, D) and (N, 2)")
    with atomic_path(Path(path), durable=False) as temporary, h5py.File(temporary, "w", libver="v110") as file:
        for name, values in (("features", features), ("coords", coords)):
            file.create_dataset(name, data=values[None], track_times=False)


@contextmanager
def opened_slide(path: str | Path) -> Iterator[SlideContent]:
    """A slide's content, read by what its suffix says it is; torch and zarr are imported only for their files."""
    path = Path(path)
    if is_packed(path):
        from cropkt.data.packs.read import opened_packed as opened
    elif path.suffix.lower() == ".pt":
        from cropkt.data.slide_files.pt_file import opened_pt as opened
    elif path.suffix.lower() == ".zarr":
        from cropkt.data.slide_files.zarr_file import opened_zarr as opened
    else:
        opened = opened_h5
    with opened(path) as content:
        yield content


def _native(values: np.ndarray) -> np.ndarray:
    """`values` in this machine's byte order."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _require_shape(found: tuple[int, int], promised: tuple[int, int]) -> None:
    if found == promised:
        return
    reason = f"holds {found[0]} patches of width {found[1]}, not {promised}"
    if found[1] != promised[1]:
        raise FeatureFileError(SlideFault.WIDTH, reason)
    raise FeatureFileError(SlideFault.CHANGED, reason, passing=True)


def _convert(stored: "torch.Tensor", destination: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Copy by way of float32, a few rows at a time: float16 to bfloat16 is four times as fast so as directly.

    Returns the smallest and the largest number of each row, as `_extremes`.
    """
    import torch

    lows, highs = [], []
    for start in range(0, len(stored), ROWS_AT_ONCE):
        rows = stored[start : start + ROWS_AT_ONCE].float()
        destination[start : start + ROWS_AT_ONCE].copy_(rows)
        lows.append(rows.amin(dim=1))
        highs.append(rows.amax(dim=1))
    return torch.cat(lows), torch.cat(highs)


def _extremes(features: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """The smallest and the largest number (N,) of each row of `features` (N, D); NaN where a row has one."""
    import torch

    blocks = features.split(ROWS_AT_ONCE)
    return torch.cat([block.amin(dim=1) for block in blocks]), torch.cat([block.amax(dim=1) for block in blocks])


class _Values:
    """What has been seen of a slide's values; it does not grow with the slide."""

    def __init__(self) -> None:
        self.patches = self.not_finite = self.absurd = self.zeros = 0
        self.largest = 0.0

    def add(self, low: "torch.Tensor", high: "torch.Tensor") -> None:
        """The smallest and the largest number (N,) of each of N more patches."""
        import torch

        largest = torch.maximum(-low, high)
        self.patches += len(largest)
        self.not_finite += int((~torch.isfinite(largest)).sum())
        self.absurd += int((largest > LARGEST_FEATURE).sum())
        self.zeros += int((largest == 0).sum())
        self.largest = max(self.largest, float(largest.max()))

    def require_plausible(self) -> None:
        """Refuse values that are not finite, beyond LARGEST_FEATURE, or zero in too many of the patches."""
        if self.not_finite:
            reason = f"{self.not_finite} of {self.patches} patches have NaN or infinite features"
            raise FeatureFileError(SlideFault.NOT_FINITE, reason)
        if self.absurd:
            reason = f"{self.absurd} of {self.patches} patches have features beyond {LARGEST_FEATURE:.0e}"
            raise FeatureFileError(SlideFault.ABSURD, f"{reason} (up to {self.largest:.1e})")
        if self.zeros > ZERO_PATCHES * self.patches:
            reason = f"{self.zeros} of {self.patches} patches have features that are all zero"
            raise FeatureFileError(SlideFault.ZEROS, reason)
