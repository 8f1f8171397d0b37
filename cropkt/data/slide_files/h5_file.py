"""Feature files in HDF5: TRIDENT and CLAM (`features`, `coords`), STAMP (`feats`), UNI2-h (a leading axis)."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

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

LARGE = 2**32
"""Bytes from which the blocks of a file are counted: one that was reserved and not written has few."""


@contextmanager
def opened_h5(path: Path) -> Iterator[SlideContent]:
    """The content of the file at `path`, whose features are all there. Any failure becomes a FeatureFileError."""
    status = require_regular(path)
    try:
        # Many network disks refuse HDF5's file locks, and a reader needs none.
        with h5py.File(path, "r", locking=False) as file:
            content = _content(file)
            _require_written(content.features, status.st_blocks * 512)
            yield content
    except (OSError, RuntimeError, KeyError) as error:
        raise fault_of(error) from error


def _content(file: h5py.File) -> SlideContent:
    here = list(file)
    try:
        features = choose_features(_datasets(file, FEATURE_NAMES, here), ", ".join(_held(file, here)[:8]))
        coordinates = next(iter(_datasets(file, COORDINATE_NAMES, here).values()), None)
        require_floating(_type_name(features))
        return SlideContent(features, coordinates, lambda: encoder_in(features.attrs, file.attrs))
    except FeatureFileError:
        raise
    except (TypeError, ValueError) as error:  # a type of number that NumPy does not have
        raise FeatureFileError(SlideFault.TYPE, f"holds numbers of an unknown type ({error})") from error


def _datasets(file: h5py.File, names: tuple[str, ...], here: Sequence[str]) -> dict[str, h5py.Dataset]:
    """Those of `names` that are `here`, in this very file, as datasets."""
    found = {}
    for name in names:
        if name not in here:  # `in file` would look into the other file that a link may name
            continue
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
            _refuse_other_file(name)
        held = file[name]
        if isinstance(held, h5py.Dataset):
            layout = held.id.get_create_plist()
            if layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count():
                _refuse_other_file(name)
            found[name] = held
    return found


def _held(file: h5py.File, here: Sequence[str]) -> list[str]:
    """Those of `here`, and in place of a group all that lies in it, by path: a message can say how deep they lie."""
    held: list[str] = []
    for name in here:
        is_group = file.get(name, getclass=True, getlink=False) is h5py.Group
        own = is_group and not isinstance(file.get(name, getlink=True), h5py.ExternalLink)
        held += [f"{name}/{inner}" for inner in file[name]] if own else [name]
    return held


def _refuse_other_file(name: str) -> None:
    reason = f"keeps {name} in another file; copy it into this one (h5repack, or read and write it with h5py)"
    raise FeatureFileError(SlideFault.UNREADABLE, reason)


def _type_name(features: h5py.Dataset) -> str:
    dtype = features.dtype
    return f"float{8 * dtype.itemsize}" if dtype.kind == "f" else str(dtype)


def _require_written(features: h5py.Dataset, blocks: int) -> None:
    """A dataset that was made and never filled reads as zeros; here it is refused, before memory is asked for it."""
    if not features.size:
        return
    promised = features.size * features.dtype.itemsize
    stored = features.id.get_storage_size()
    if features.chunks is None:
        if stored < promised:
            reason = f"has features of shape {features.shape} that were never written; extract the slide again"
            raise FeatureFileError(SlideFault.UNWRITTEN, reason)
    else:
        chunks = math.prod(-(-size // chunk) for size, chunk in zip(features.shape, features.chunks, strict=True))
        missing = chunks - features.id.get_num_chunks()
        if missing > 0:
            reason = f"{missing:,} of {chunks:,} chunks of its features were never written; extract the slide again"
            raise FeatureFileError(SlideFault.UNWRITTEN, reason)
    require_stored(promised, min(stored, blocks) if promised > LARGE else stored)
