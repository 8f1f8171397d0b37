"""The numbers of an HDF5 file read past HDF5's lock, so that many slides are read and unpacked at the same time.

HDF5 lets one thread in at a time, and unpacks gzip inside. Here it is asked only where the bytes lie; reading and
unpacking them lets go of the interpreter. Known are features in one piece and chunks packed with gzip (shuffled or
not), as the published tools write them; for all else `stored_rows` has no answer, and HDF5 reads as ever.
"""

import zlib
from pathlib import Path

import h5py
import numpy as np

from cropkt.data.packs.index import is_packed
from cropkt.data.slide_files.h5_file import opened_h5
from cropkt.data.slide_files.slide_faults import FeatureFileError

H5_SUFFIXES = (".h5", ".hdf5")
UNPACKED_HERE = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE)


def stored_rows(path: str | Path) -> np.ndarray | None:
    """The features of the file `path` in its own type and shape; None where it is not of a known kind, or is bad.

    Whoever gets None reads the file the usual way, and learns there what is wrong with it.
    """
    if is_packed(path) or Path(path).suffix.lower() not in H5_SUFFIXES:
        return None
    try:
        with opened_h5(Path(path)) as content:
            features = content.features
            return _in_one_piece(path, features) if features.chunks is None else _from_chunks(features)
    except (FeatureFileError, OSError, ValueError, MemoryError, zlib.error):
        return None


def _in_one_piece(path: str | Path, features: h5py.Dataset) -> np.ndarray | None:
    start = features.id.get_offset()
    if start is None:  # so small that it lies in the header
        return None
    rows = np.fromfile(path, features.dtype, features.size, offset=start)
    return rows.reshape(features.shape) if rows.size == features.size else None


def _from_chunks(features: h5py.Dataset) -> np.ndarray | None:
    plist = features.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if h5py.h5z.FILTER_DEFLATE not in filters or any(kind not in UNPACKED_HERE for kind in filters):
        return None  # chunks as they are cost nothing to unpack, and HDF5 copies them faster than a loop here
    rows = np.empty(features.shape, features.dtype)
    for chunk in features.iter_chunks():
        corner = tuple(part.start for part in chunk)
        left_out, packed = features.id.read_direct_chunk(corner)
        used = [kind for number, kind in enumerate(filters) if not left_out >> number & 1]
        values = _unpacked(packed, used, features.dtype).reshape(features.chunks)
        rows[chunk] = values[tuple(slice(part.stop - part.start) for part in chunk)]
    return rows


def _unpacked(packed: bytes, filters: list[int], dtype: np.dtype) -> np.ndarray:
    for kind in reversed(filters):
        if kind == h5py.h5z.FILTER_DEFLATE:
            packed = zlib.decompress(packed)
        else:  # bytes of one place in a number lie together
            packed = np.frombuffer(packed, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
    return np.frombuffer(packed, dtype)
