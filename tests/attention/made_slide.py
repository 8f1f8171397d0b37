"""A made-up slide: two pieces of tissue of a few thousand patches, with regions that differ in their features.

`python tests/attention/made_slide.py FILE` writes one with 6 features, to look at pictures of.
"""

import struct
import sys
from pathlib import Path

import h5py
import numpy as np
from small_studies import DIM

SIZE = 448
"""Edge of a patch in pixels."""


def pieces(columns: int = 60, size: int = SIZE) -> np.ndarray:
    """(N, 2) upper left corners of the patches of two pieces of tissue, each on a grid of its own."""
    found = []
    for x, y, wide, high in ((0.34, 0.5, 0.3, 0.42), (0.82, 0.42, 0.15, 0.3)):
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(columns)), axis=-1).reshape(-1, 2) / columns
        angle = np.arctan2(grid[:, 1] - y, grid[:, 0] - x)
        edge = 1 + 0.12 * np.sin(3 * angle + 9 * x) + 0.07 * np.sin(7 * angle)
        inside = np.hypot((grid[:, 0] - x) / wide, (grid[:, 1] - y) / high) < edge
        found.append(grid[inside] * columns * size + size // 3 * len(found))
    return np.concatenate(found).round()


def features_of(corners: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, DIM) float32: the first two features are high in regions of their own, which overlap; all have noise."""
    random = np.random.default_rng(seed)
    place = corners / corners.max()
    features = 0.25 * random.normal(size=(len(corners), DIM))
    for feature, (x, y) in enumerate(((0.3, 0.35), (0.4, 0.6), (0.85, 0.3))):
        features[:, feature] += 3 * np.exp(-((place[:, 0] - x) ** 2 + (place[:, 1] - y) ** 2) / 0.02)
    return features.astype(np.float32)


def write_slide(path: Path, corners: np.ndarray, **attributes: object) -> Path:
    """Write a feature file as TRIDENT does, with these `attributes` of its coordinates."""
    with h5py.File(path, "w") as file:
        file["features"] = features_of(corners)
        file["coords"] = corners.astype(np.int64)
        file["coords"].attrs.update(attributes)
    return path


def write_image(path: Path, corners: np.ndarray, size: int, edge: int = 2048, seed: int = 1) -> Path:
    """Write the slide's picture, tissue pink on white, as a tiled TIFF of edge x edge pixels of 0.5 micrometres."""
    random = np.random.default_rng(seed)
    pixels = np.full((edge, edge, 3), 242, dtype=np.uint8)
    for x, y in corners.astype(int):
        stain = np.array([214, 150, 190]) + random.normal(0, 14, size=(size, size, 3))
        pixels[y : y + size, x : x + size] = np.where(random.random((size, size, 1)) < 0.12, [110, 70, 140], stain)
    tile = 256
    tiles = [pixels[y : y + tile, x : x + tile].tobytes() for y in range(0, edge, tile) for x in range(0, edge, tile)]
    path.write_bytes(_tiff(tiles, edge, tile))
    return path


def _tiff(tiles: list[bytes], edge: int, tile: int) -> bytes:
    """A little-endian TIFF with one image in RGB tiles without compression; 20,000 pixels are a centimetre."""
    count, each = len(tiles), len(tiles[0])
    tags = 14
    extra = 8 + 2 + 12 * tags + 4
    bits, scale, lengths = extra, extra + 6, extra + 14
    offsets = lengths + 4 * count
    data = offsets + 4 * count
    entries = [
        (256, 4, 1, edge), (257, 4, 1, edge), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3),
        (282, 5, 1, scale), (283, 5, 1, scale), (284, 3, 1, 1), (296, 3, 1, 3), (322, 4, 1, tile), (323, 4, 1, tile),
        (324, 4, count, offsets), (325, 4, count, lengths),
    ]  # fmt: skip
    directory = struct.pack("<H", tags) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    numbers = struct.pack("<3H2I", 8, 8, 8, 20_000, 1) + struct.pack(f"<{count}I", *[each] * count)
    places = struct.pack(f"<{count}I", *(data + each * n for n in range(count)))
    return b"II*\0" + struct.pack("<I", 8) + directory + numbers + places + b"".join(tiles)


if __name__ == "__main__":
    write_slide(Path(sys.argv[1]), pieces(), patch_size_level0=SIZE)
