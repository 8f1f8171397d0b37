"""Feature files as different tools write them give the same array, and damaged ones say what is wrong."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cropkt.data.features import (
    FeatureFileError,
    header,
    read_coordinates,
    read_features,
    read_features_into,
    write_h5,
)

VALUES = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
COORDS = np.arange(14).reshape(7, 2)


def h5(dtype: str, name: str = "features", axis: bool = False, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "slide.h5"
        with h5py.File(path, "w") as file:
            values = VALUES[None] if axis else VALUES
            file.create_dataset(name, data=values.astype(dtype), **options)
            file["coords"] = COORDS[None] if axis else COORDS
        return path

    return write


def pt(value: object, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(value, folder / "slide.pt", **options)
        return folder / "slide.pt"

    return write


TENSOR = torch.from_numpy(VALUES)
WRITERS = {
    "UNI2-h, leading axis": h5("float32", axis=True),
    "TRIDENT, CLAM": h5("float32"),
    "float16": h5("float16", axis=True),
    "float64": h5("float64"),
    "float32 of another machine": h5(">f4"),
    "feats": h5("float32", name="feats"),
    "embeddings": h5("float32", name="embeddings"),
    "a chunk a patch, growing": h5("float32", chunks=(1, 4), maxshape=(None, 4)),
    "compressed": h5("float32", axis=True, chunks=(1, 3, 4), compression="gzip"),
    "tensor": pt(TENSOR),
    "tensor with leading axis": pt(TENSOR[None]),
    "tensor in float16": pt(TENSOR.half()),
    "tensor in bfloat16": pt(TENSOR.bfloat16()),
    "dict": pt({"feats": TENSOR, "coords": torch.from_numpy(COORDS)}),
    "tensor of before torch 1.6": pt(TENSOR, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_features(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    tolerance = 0.02 if "bfloat16" in kind else 0.002 if "float16" in kind else 0
    assert header(path) == (7, 4)
    assert read_features(path).shape == (7, 4)
    np.testing.assert_allclose(read_features(path), VALUES, atol=tolerance)
    for dtype, loss in ((torch.float32, 0), (torch.bfloat16, 0.02)):
        filled = torch.full((7, 4), torch.nan, dtype=dtype)
        read_features_into(path, filled)
        np.testing.assert_allclose(filled.float().numpy(), VALUES, atol=tolerance + loss)


def test_features_keep_their_dtype(tmp_path: Path) -> None:
    assert read_features(WRITERS["float16"](tmp_path)).dtype == np.float16
    assert read_features(WRITERS["tensor in bfloat16"](tmp_path)).dtype == np.float32


@pytest.mark.parametrize("kind", ["UNI2-h, leading axis", "TRIDENT, CLAM"])
def test_coordinates_lose_the_leading_axis(kind: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_coordinates(WRITERS[kind](tmp_path)), COORDS)


def test_coordinates_may_be_absent(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "slide.h5", "w") as file:
        file["features"] = VALUES
    assert read_coordinates(tmp_path / "slide.h5") is None
    assert read_coordinates(WRITERS["tensor"](tmp_path)) is None


def test_written_files_have_the_published_layout_and_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_h5(tmp_path / name / "slide.h5", VALUES.astype(np.float16), COORDS.astype(np.int32))
    with h5py.File(tmp_path / "one" / "slide.h5") as file:
        assert (file["features"].shape, file["features"].dtype) == ((1, 7, 4), np.float16)
        assert (file["coords"].shape, file["coords"].dtype) == ((1, 7, 2), np.int32)
    assert (tmp_path / "one" / "slide.h5").read_bytes() == (tmp_path / "other" / "slide.h5").read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["slide.h5"]
    np.testing.assert_array_equal(read_features(tmp_path / "one" / "slide.h5"), VALUES.astype(np.float16))


def test_a_wrong_shape_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features \(7, 4\) and coords \(6, 2\)"):
        write_h5(tmp_path / "slide.h5", VALUES, COORDS[:6])


def nothing(folder: Path) -> Path:
    return folder / "slide.h5"


def text(folder: Path) -> Path:
    (folder / "slide.h5").write_text("<html>404</html>")
    return folder / "slide.h5"


def cut_short(folder: Path) -> Path:
    path = h5("float32", axis=True)(folder)
    path.write_bytes(path.read_bytes()[:900])
    return path


def code_in_a_pickle(folder: Path) -> Path:
    class Danger:
        def __reduce__(self) -> tuple:
            return (Path.touch, (folder / "touched",))

    return pt(Danger())(folder)


DAMAGED = {
    "absent": (nothing, "does not exist"),
    "not HDF5": (text, "cannot be read"),
    "cut short": (cut_short, "cannot be read"),
    "other names": (
        h5("float32", name="tiles"),
        "no dataset named features, feats, embeddings; it holds coords, tiles",
    ),
    "whole numbers": (h5("int32"), "features of type int32, not floating point"),
    "one axis": (pt(TENSOR[0]), r"shape \(4,\), not \(patches, width\)"),
    "two slides": (pt(torch.stack([TENSOR, TENSOR])), r"shape \(2, 7, 4\)"),
    "a list": (pt([1, 2]), "holds a list, not a tensor"),
    "a dict of something else": (pt({"a": TENSOR}), "is a dict without features, feats, embeddings; it holds a"),
    "code": (code_in_a_pickle, "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_says_what_is_wrong(kind: str, tmp_path: Path) -> None:
    write, expected = DAMAGED[kind]
    path = write(tmp_path)
    for read in (header, read_features, lambda path: read_features_into(path, torch.empty(7, 4))):
        with pytest.raises(FeatureFileError, match=expected):
            read(path)
    assert not (tmp_path / "touched").exists()


def test_another_size_than_promised_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureFileError, match=r"holds 7 patches of width 4, not \(8, 4\)"):
        read_features_into(WRITERS["tensor"](tmp_path), torch.empty(8, 4))
