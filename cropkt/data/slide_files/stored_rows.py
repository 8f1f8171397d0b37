"""The numbers of an HDF5 file read past HDF5's lock, so that many slides are read and unpacked at the same time.

HDF5 lets one thread in at a time, and unpacks gzip inside. Here it is asked only where the bytes lie; reading and
unpacking them lets go of the interpreter. Known are features in one piece and chunks packed with gzip (shuffled or
not), as the published tools write them.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

ROWS_AT_ONCE = 256
"""Of features in one piece; so many stay in the cache until they are converted."""
UNPACKED_HERE = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE)


def are_known(features: h5py.Dataset) -> bool:
    """Can `stored_rows` read them?"""
    if features.chunks is None:
        return features.id.get_offset() is not None  # None: so small that they lie in the header
    filters = _filters(features)
    # Chunks that are not packed cost nothing to unpack, and HDF5 copies them faster than a loop here.
    return h5py.h5z.FILTER_DEFLATE in filters and all(kind in UNPACKED_HERE for kind in filters)


def stored_rows(path: Path, features: h5py.Dataset) -> Iterator[np.ndarray]:
    """Known `features`, (N, D) or (1, N, D), of the open file `path` in blocks (n, D) of their own type, in order.

    A block may be overwritten by the next one. Raises OSError where the file ends early or does not unpack.
    """
    return _in_one_piece(path, features) if features.chunks is None else _from_chunks(features)


def _in_one_piece(path: Path, features: h5py.Dataset) -> Iterator[np.ndarray]:
    patches, width = features.shape[-2:]
    block = np.empty((min(ROWS_AT_ONCE, patches), width), features.dtype)
    octets = block.view(np.uint8).reshape(-1)
    with open(path, "rb") as file:
        file.seek(features.id.get_offset())
        for start in range(0, patches, len(block)):
            rows = min(len(block), patches - start)
            needed = rows * width * features.dtype.itemsize
            if file.readinto(octets[:needed].data) < needed:
                raise OSError(f"it ends after less than {patches} patches")
            yield block[:rows]


def _from_chunks(features: h5py.Dataset) -> Iterator[np.ndarray]:
    """The chunks that lie beside each other, together."""
    patches, width = features.shape[-2:]
    high, wide = features.chunks[-2:]
    filters, leading = _filters(features), (0,) * (features.ndim - 2)
    for start in range(0, patches, high):
        block = np.empty((min(high, patches - start), width), features.dtype)
        for left in range(0, width, wide):
            left_out, packed = features.id.read_direct_chunk((*leading, start, left))
            used = [kind for number, kind in enumerate(filters) if not left_out >> number & 1]
            values = _unpacked(packed, used, features.dtype).reshape(high, wide)
            block[:, left : left + wide] = values[: len(block), : width - left]
        yield block


def _filters(features: h5py.Dataset) -> list[int]:
    plist = features.id.get_create_plist()
    return [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]


def _unpacked(packed: bytes, filters: list[int], dtype: np.dtype) -> np.ndarray:
    try:
        for kind in reversed(filters):
            if kind == h5py.h5z.FILTER_DEFLATE:
                packed = zlib.decompress(packed)
            else:  # bytes of one place in a number lie together
                packed = np.frombuffer(packed, np.uint8).reshape(dtype.itemsize, -1).T.tobytes()
        return np.frombuffer(packed, dtype)
    except (zlib.error, ValueError) as error:
        raise OSError(f"a chunk does not unpack ({error})") from error
