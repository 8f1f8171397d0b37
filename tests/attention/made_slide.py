"""A made-up slide: two pieces of tissue of a few thousand patches, with regions that differ in their features.

`python tests/attention/made_slide.py FILE` writes one with 6 features, to look at pictures of.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from small_studies import DIM

SIZE = 448
"""Edge of a patch in pixels."""


def pieces(columns: int = 60) -> np.ndarray:
    """(N, 2) upper left corners of the patches of two pieces of tissue, each on a grid of its own."""
    found = []
    for x, y, wide, high in ((0.34, 0.5, 0.3, 0.42), (0.82, 0.42, 0.15, 0.3)):
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(columns)), axis=-1).reshape(-1, 2) / columns
        angle = np.arctan2(grid[:, 1] - y, grid[:, 0] - x)
        edge = 1 + 0.12 * np.sin(3 * angle + 9 * x) + 0.07 * np.sin(7 * angle)
        inside = np.hypot((grid[:, 0] - x) / wide, (grid[:, 1] - y) / high) < edge
        found.append(grid[inside] * columns * SIZE + 137 * len(found))
    return np.concatenate(found).round()


def features_of(corners: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, DIM) float32: the first two features are high in regions of their own, which overlap; all have noise."""
    random = np.random.default_rng(seed)
    place = corners / corners.max()
    features = 0.5 * random.normal(size=(len(corners), DIM))
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


if __name__ == "__main__":
    write_slide(Path(sys.argv[1]), pieces(), patch_size_level0=SIZE)
