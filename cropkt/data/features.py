"""Feature files of one slide: `.h5` as published (UNI2-h, TRIDENT, CLAM) and `.pt`.

An `.h5` file holds `features` (also `feats`, `embeddings`) (N, D) or (1, N, D) and, optionally, `coords` (N, 2) or
(1, N, 2): N patches of D numbers, and the pixel position of each patch on the slide. A `.pt` file holds a tensor
(N, D) or (1, N, D), or a dict with it under one of these names.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from cropkt.errors import StudyError
from cropkt.files import atomic_path

if TYPE_CHECKING:
    import torch

FEATURE_NAMES = ("features", "feats", "embeddings")
COORDINATE_NAMES = ("coords", "coordinates")
SUFFIXES = (".h5", ".hdf5", ".pt")


class FeatureFileError(StudyError):
    """A feature file cannot be used; the message says why, without the path."""


def header(path: str | Path) -> tuple[int, int]:
    """Patches and feature width of a slide's file, without reading its features. Raises FeatureFileError."""
    with _opened(path) as features:
        patches, width = _two_axes(features.shape)
    return patches, width


def read_features(path: str | Path) -> np.ndarray:
    """Features (N, D) as stored, float16, 32 or 64 (bfloat16 becomes float32). Raises FeatureFileError."""
    with _opened(path) as features:
        shape = _two_axes(features.shape)
        if isinstance(features, h5py.Dataset):
            return features[()].reshape(shape)
        import torch

        tensor = features.float() if features.dtype == torch.bfloat16 else features
        return np.array(tensor.reshape(shape).numpy())


def read_features_into(path: str | Path, destination: "torch.Tensor") -> None:
    """Fill the contiguous CPU tensor `destination` (N, D) with a slide's features, converted to its dtype.

    A file of that very dtype is read with no copy in between. Raises FeatureFileError when the file cannot be read or
    its shape is another one.
    """
    import torch

    with _opened(path) as features:
        shape = _two_axes(features.shape)
        if shape != tuple(destination.shape):
            raise FeatureFileError(f"holds {shape[0]} patches of width {shape[1]}, not {tuple(destination.shape)}")
        if isinstance(features, torch.Tensor):
            _convert(features.reshape(shape), destination)
        elif destination.dtype == torch.float32 and features.dtype == np.float32:
            if features.size:
                features.read_direct(destination.numpy().reshape(features.shape))
        else:
            native = features.dtype.newbyteorder("=")
            _convert(torch.from_numpy(features.astype(native)[()].reshape(shape)), destination)


def _convert(source: "torch.Tensor", destination: "torch.Tensor") -> None:
    """Copy by way of float32, a few rows at a time: float16 to bfloat16 is four times as fast so as directly."""
    for start in range(0, len(source), 256):
        rows = slice(start, start + 256)
        destination[rows].copy_(source[rows].float())


def read_coordinates(path: str | Path) -> np.ndarray | None:
    """Patch positions (N, 2) in pixels as stored, or None for a file without any. Raises FeatureFileError."""
    path = Path(path)
    if path.suffix == ".pt":
        return None
    with _opened_h5(path) as file:
        coordinates = _first(file, COORDINATE_NAMES)
        return None if coordinates is None else coordinates[()].reshape(-1, 2)


def write_h5(path: str | Path, features: np.ndarray, coords: np.ndarray) -> None:
    """Write `features` (N, D) and `coords` (N, 2) in the published layout, (1, N, D) and (1, N, 2), dtypes as given.

    The file appears whole or not at all, and the same arrays give the same bytes.
    """
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise ValueError(f"{path}: features {features.shape} and coords {coords.shape} are not (N, D) and (N, 2)")
    with atomic_path(Path(path)) as temporary, h5py.File(temporary, "w", libver="v110") as file:
        for name, values in (("features", features), ("coords", coords)):
            file.create_dataset(name, data=values[None], track_times=False)


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The file's features as an h5py dataset or a (lazily mapped) tensor; any failure becomes a FeatureFileError."""
    path = Path(path)
    if path.suffix == ".pt":
        yield _pt_tensor(path)
        return
    with _opened_h5(path) as file:
        features = _first(file, FEATURE_NAMES)
        if not isinstance(features, h5py.Dataset):
            held = ", ".join(file) or "nothing"
            raise FeatureFileError(f"has no dataset named {', '.join(FEATURE_NAMES)}; it holds {held}")
        if features.dtype.kind != "f" or features.dtype.itemsize > 8:
            raise FeatureFileError(f"holds features of type {features.dtype}, not floating point")
        yield features


def _first(file: h5py.File, names: tuple[str, ...]) -> Any:
    """What `file` holds under the first of `names` it knows, or None."""
    return next((held for name in names if (held := file.get(name)) is not None), None)


@contextmanager
def _opened_h5(path: Path) -> Iterator[h5py.File]:
    try:
        # Many network disks refuse HDF5's file locks, and a reader needs none.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        if not os.path.exists(path):
            raise FeatureFileError("does not exist") from error
        raise FeatureFileError(f"cannot be read ({_first_line(error)})") from error


def _pt_tensor(path: Path) -> "torch.Tensor":
    import torch

    try:
        try:
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files of before torch 1.6 cannot be mapped
            value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FeatureFileError("does not exist") from error
    except Exception as error:  # torch.load fails in as many ways as there are damaged files
        raise FeatureFileError(f"cannot be read ({_first_line(error)})") from error
    if isinstance(value, dict):
        name = next((name for name in FEATURE_NAMES if name in value), None)
        if name is None:
            held = ", ".join(map(str, value)) or "nothing"
            raise FeatureFileError(f"is a dict without {', '.join(FEATURE_NAMES)}; it holds {held}")
        value = value[name]
    if not isinstance(value, torch.Tensor):
        raise FeatureFileError(f"holds a {type(value).__name__}, not a tensor")
    if not value.is_floating_point():
        raise FeatureFileError(f"holds features of type {value.dtype}, not floating point")
    return value


def _two_axes(shape: Any) -> tuple[int, int]:
    shape = tuple(int(size) for size in shape)
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise FeatureFileError(f"holds features of shape {shape}, not (patches, width) or (1, patches, width)")
    return shape[0], shape[1]


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
