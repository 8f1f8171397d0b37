"""Where patches lie and how large they are, as each tool notes it, or as their neighbours show."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from made_slide import SIZE, pieces, write_slide

from cropkt.attention.geometry import MICROMETRES, PIXELS, read_patches, spacing
from cropkt.errors import InputError


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"patch_size_level0": 512, "patch_size": 256}, 512),  # TRIDENT
        ({"patch_size": 256, "downsample": np.array([4.0, 4.0])}, 1024),  # CLAM
        ({"patch_size": 256}, SIZE),  # at which magnification is not said
        ({"patch_size_level0": -1}, SIZE),
        ({}, SIZE),
    ],
)
def test_the_size_of_a_patch(tmp_path: Path, attributes: dict[str, object], size: float) -> None:
    found = read_patches(write_slide(tmp_path / "slide.h5", pieces(30), **attributes))
    assert (found.size, found.unit) == (size, PIXELS)
    assert np.array_equal(found.corners, pieces(30))
    assert ("neighbours" in found.size_from) is (size == SIZE)


def test_a_given_size_comes_first(tmp_path: Path) -> None:
    assert read_patches(write_slide(tmp_path / "slide.h5", pieces(30), patch_size_level0=512), 300).size == 300


def test_micrometres_become_pixels(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "slide.h5", pieces(30))
    with h5py.File(path, "r+") as file:
        file.attrs.update(unit="um", tile_size_um=256.0, tile_size_px=224)  # STAMP
    found = read_patches(path)
    assert (found.size, found.unit) == (256, MICROMETRES)
    with pytest.raises(InputError, match="--microns-per-pixel"):
        found.in_pixels(None)
    pixels = found.in_pixels(0.5)
    assert (pixels.size, pixels.unit) == (512, PIXELS)
    assert np.array_equal(pixels.corners, 2 * found.corners)


def test_two_pieces_on_grids_of_their_own_have_one_spacing() -> None:
    corners = pieces(40)
    assert spacing(corners) == SIZE
    assert spacing(np.random.default_rng(0).permutation(corners)) == SIZE
    sparse = corners[np.random.default_rng(1).random(len(corners)) < 0.6]
    assert spacing(sparse) == SIZE


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (np.zeros((5, 2)), "all its 5 patches have the same coordinates"),
        (np.array([[0, 0], [5, 7], [11, 13]]), "no two patches lie in one row or column"),
        (np.array([[0, 0]]), "has one patch"),
    ],
)
def test_places_that_say_nothing_are_refused(tmp_path: Path, corners: np.ndarray, message: str) -> None:
    path = tmp_path / "slide.h5"
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = np.ones((len(corners), 6), np.float32), corners
    with pytest.raises(InputError, match=message):
        read_patches(path)


def test_a_file_without_coordinates_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(5, 6), tmp_path / "slide.pt")
    with pytest.raises(InputError, match="holds no coordinates"):
        read_patches(tmp_path / "slide.pt")
