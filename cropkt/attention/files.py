"""Attention for other programs: HDF5 beside the coordinates, GeoJSON for QuPath, tables of top patches and overlaps."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from cropkt.attention.geometry import Patches
from cropkt.attention.look import Look, Overlap
from cropkt.attention.pictures import patch_colours
from cropkt.files import atomic_path


def write_h5(path: Path, found: Look, patches: Patches) -> None:
    """`coords` (N, 2) as in the feature file, and `attention/SOURCE` (N,) float32, which sums to 1."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        coords = file.create_dataset("coords", data=patches.corners, track_times=False)
        coords.attrs.update(patch_size=patches.size, unit=patches.unit, patch_size_from=patches.size_from)
        for source, attention in zip(found.sources, found.attention, strict=True):
            file.create_dataset(f"attention/{source}", data=attention.astype(np.float32), track_times=False)


def write_geojson(path: Path, source: str, found: Look, patches: Patches) -> None:
    """One square per patch for QuPath (drop the file on the open slide), in pixels of the full resolution.

    Its colour is the patch's rank. Its measurements are of all sources: attention in times the slide's mean, and the
    percentage of patches with less; Measure > Show measurement maps colours by any of them.
    """
    colours = (255 * patch_colours(found.percentile[found.sources.index(source)])[:, :3]).round().astype(int)
    measured: dict[str, np.ndarray] = {}
    for name, times, rank in zip(found.sources, found.times_mean, found.percentile, strict=True):
        measured |= {f"attention {name} (times mean)": times, f"attention {name} (percentile)": 100 * rank}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [\n')
        for n, corner in enumerate(patches.corners):
            values = {name: round(float(column[n]), 4) for name, column in measured.items()}
            ending = ",\n" if n < len(patches.corners) - 1 else "\n"
            stream.write(json.dumps(_tile(corner, patches.size, colours[n].tolist(), values)) + ending)
        stream.write("]}\n")


def _tile(corner: np.ndarray, size: float, colour: list[int], values: dict[str, float]) -> dict[str, object]:
    x, y = (round(float(edge), 2) for edge in corner)
    right, bottom = round(x + size, 2), round(y + size, 2)
    ring = [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "tile", "color": colour, "measurements": values},
    }


def top_patches(found: Look, patches: Patches, count: int) -> pd.DataFrame:
    """The `count` patches of each source with most attention, most first: source, rank, row in the feature file, x, y,
    size, attention, times_mean."""
    rows = []
    for source, attention in zip(found.sources, found.attention, strict=True):
        order = np.argsort(-attention, kind="stable")[:count]
        of_source = {
            "source": source,
            "rank": np.arange(1, len(order) + 1),
            "row": order,
            "x": patches.corners[order, 0],
            "y": patches.corners[order, 1],
            "size": patches.size,
            "attention": attention[order],
            "times_mean": attention[order] * len(attention),
        }
        rows.append(pd.DataFrame(of_source))
    return pd.concat(rows, ignore_index=True)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def overlap_table(overlaps: Sequence[Overlap]) -> pd.DataFrame:
    """One row for every two sources."""
    return pd.DataFrame([asdict(overlap) for overlap in overlaps])
