"""Feature files as different tools write them give the same array, and damaged ones say what is wrong."""

import errno
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr

from cropkt.data.slide_files import stored_rows
from cropkt.data.slide_files.features import (
    encoder_named_in,
    header,
    read_coordinates,
    read_features,
    read_features_into,
    write_h5,
)
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault
from cropkt.data.slide_files.stored_rows import are_known

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


def h5_of(attributes: dict | None = None, suffix: str = ".h5", **arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with h5py.File(folder / f"slide{suffix}", "w") as file:
            for name, values in arrays.items():
                file[name] = values
            for name, value in (attributes or {}).items():
                at = file[name.rpartition("/")[0] or "/"]
                at.attrs[name.rpartition("/")[2]] = value
        return folder / f"slide{suffix}"

    return write


def stored_in_zarr(format: int = 2, place: str = "", **arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        group = zarr.open_group(folder / "slide.zarr", mode="w", zarr_format=format)
        for name, values in arrays.items():
            group.create_array(place + name.replace("__", "/"), data=values, chunks=(3, *values.shape[1:]))
        return folder / "slide.zarr"

    return write


def numpy_1(folder: Path) -> Path:
    """The array as NumPy 1 pickled it, whose module had another name."""
    path = pt(VALUES, _use_new_zipfile_serialization=False)(folder)
    written = path.read_bytes()
    assert b"numpy._core.multiarray" in written
    path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return path


def raw2features(*models: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        features = {f"features__{model}": VALUES.astype(np.float16) for model in models}
        path = stored_in_zarr(place="grids/mpp0.5_px224/", coords=COORDS, **features)(folder)
        for model in models:
            zarr.open(path, mode="a")[f"grids/mpp0.5_px224/features/{model}"].attrs["model"] = model
        return path

    return write


TENSOR = torch.from_numpy(VALUES)
WRITERS = {
    "UNI2-h, leading axis": h5("float32", axis=True),
    "TRIDENT, CLAM": h5("float32"),
    "STAMP, float16": h5_of({"extractor": "uni2"}, feats=VALUES.astype(np.float16), coords=COORDS.astype(np.float32)),
    "hdf5": h5_of(suffix=".hdf5", features=VALUES, coords=COORDS),
    "float16": h5("float16", axis=True),
    "float64": h5("float64"),
    "float32 of another machine": h5(">f4"),
    "embeddings": h5("float32", name="embeddings"),
    "x beside a list of x positions": h5_of(features=VALUES, x=np.arange(7.0), coords=COORDS),
    "a chunk a patch, growing": h5("float32", chunks=(1, 4), maxshape=(None, 4)),
    "compressed": h5("float32", axis=True, chunks=(1, 3, 4), compression="gzip"),
    "compressed, shuffled": h5("float16", chunks=(3, 3), compression="gzip", shuffle=True),
    "compressed, with checksums": h5("float32", chunks=(3, 3), compression="gzip", fletcher32=True),
    "tensor": pt(TENSOR),
    "tensor with leading axis": pt(TENSOR[None]),
    "tensor in float16": pt(TENSOR.half()),
    "tensor in bfloat16": pt(TENSOR.bfloat16()),
    "part of a larger tensor": pt(torch.cat([TENSOR, TENSOR])[:7]),
    "transposed tensor": pt(TENSOR.T.contiguous().T),
    "Parameter": pt(torch.nn.Parameter(TENSOR)),
    "tensor with a gradient": pt(TENSOR.clone().requires_grad_()),
    "NumPy array, TRIDENT": pt(VALUES),
    "NumPy array in float16": pt(VALUES.astype(np.float16)),
    "NumPy array of another machine": pt(VALUES.astype(">f8")),
    "NumPy array of NumPy 1": numpy_1,
    "dict": pt({"feats": TENSOR, "coords": torch.from_numpy(COORDS)}),
    "dict of NumPy arrays": pt({"x": VALUES, "coords": COORDS, "slide": "a"}),
    "tensor of before torch 1.6": pt(TENSOR, _use_new_zipfile_serialization=False),
    "zarr 2": stored_in_zarr(2, features=VALUES, coords=COORDS),
    "zarr 3": stored_in_zarr(3, feats=VALUES[None], coords=COORDS[None]),
    "raw2features, float16": raw2features("uni"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_features(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    tolerance = 0.02 if "bfloat16" in kind else 0.002 if "float16" in kind or "shuffled" in kind else 0
    assert header(path) == (7, 4)
    assert read_features(path).shape == (7, 4)
    np.testing.assert_allclose(read_features(path), VALUES, atol=tolerance)
    for dtype, loss in ((torch.float32, 0), (torch.bfloat16, 0.02)):
        filled = torch.full((7, 4), torch.nan, dtype=dtype)
        read_features_into(path, filled)
        np.testing.assert_allclose(filled.float().numpy(), VALUES, atol=tolerance + loss)


PAST_HDF5 = {"UNI2-h, leading axis", "TRIDENT, CLAM", "hdf5", "float64", "float32 of another machine", "float16"}
PAST_HDF5 |= {"STAMP, float16", "embeddings", "x beside a list of x positions", "compressed", "compressed, shuffled"}


@pytest.mark.parametrize("kind", [kind for kind, writer in WRITERS.items() if writer.__qualname__.startswith("h5")])
def test_known_kinds_are_read_past_hdf5s_lock(kind: str, tmp_path: Path) -> None:
    with h5py.File(WRITERS[kind](tmp_path)) as file:
        features = next(file[name] for name in ("features", "feats", "embeddings") if name in file)
        assert are_known(features) == (kind in PAST_HDF5)


def test_more_patches_than_a_block_come_whole_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_rows, "ROWS_AT_ONCE", 3)
    for kind in ("UNI2-h, leading axis", "float16", "compressed, shuffled"):
        filled = torch.full((7, 4), torch.nan)
        read_features_into(WRITERS[kind](tmp_path), filled)
        np.testing.assert_allclose(filled.numpy(), VALUES, atol=0.002)


def test_a_chunk_that_does_not_unpack_is_a_fault_of_the_file(tmp_path: Path) -> None:
    path = WRITERS["compressed, shuffled"](tmp_path)
    with h5py.File(path) as file:
        chunk = file["features"].id.get_chunk_info(1)
    with open(path, "r+b") as written:
        written.seek(chunk.byte_offset)
        written.write(b"\xff" * chunk.size)
    with pytest.raises(FeatureFileError, match="does not unpack") as raised:
        read_features_into(path, torch.empty(7, 4))
    assert (raised.value.fault, raised.value.passing) == (SlideFault.UNREADABLE, False)


def test_features_keep_their_dtype(tmp_path: Path) -> None:
    assert read_features(WRITERS["float16"](tmp_path)).dtype == np.float16
    assert read_features(WRITERS["tensor in bfloat16"](tmp_path)).dtype == np.float32


WITH_COORDINATES = ["UNI2-h, leading axis", "TRIDENT, CLAM", "dict", "dict of NumPy arrays"]


@pytest.mark.parametrize("kind", [*WITH_COORDINATES, "zarr 2", "zarr 3", "raw2features, float16"])
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


def test_coordinates_may_have_more_columns_than_two(tmp_path: Path) -> None:
    boxes = np.concatenate([COORDS, np.full((7, 2), 256)], axis=1)
    np.testing.assert_array_equal(read_coordinates(h5_of(features=VALUES, coords=boxes)(tmp_path)), COORDS)


NAMED = {
    "TRIDENT": (h5_of({"features/name": "a slide", "features/encoder": "uni_v2"}, features=VALUES), "uni_v2"),
    "STAMP": (h5_of({"extractor": "virchow2"}, feats=VALUES), "virchow2"),
    "raw2features": (raw2features("conch_v1_5"), "conch_v1_5"),
    "dict": (pt({"features": TENSOR, "encoder": "uni"}), "uni"),
    "CLAM, the name is the slide's": (h5_of({"features/name": "a slide"}, features=VALUES), None),
    "tensor": (pt(TENSOR), None),
}


@pytest.mark.parametrize("kind", NAMED)
def test_the_encoder_is_named_where_the_tool_noted_it(kind: str, tmp_path: Path) -> None:
    write, expected = NAMED[kind]
    assert encoder_named_in(write(tmp_path)) == expected


def nothing(folder: Path) -> Path:
    return folder / "slide.h5"


def text(folder: Path) -> Path:
    (folder / "slide.h5").write_text("<html>404</html>")
    return folder / "slide.h5"


def text_pt(folder: Path) -> Path:
    (folder / "slide.pt").write_text("<html>404</html>")
    return folder / "slide.pt"


def no_bytes(folder: Path) -> Path:
    (folder / "slide.pt").touch()
    return folder / "slide.pt"


def cut_short(folder: Path) -> Path:
    path = h5("float32", axis=True)(folder)
    path.write_bytes(path.read_bytes()[:900])
    return path


def cut_short_pt(folder: Path) -> Path:
    path = pt(TENSOR)(folder)
    path.write_bytes(path.read_bytes()[:500])
    return path


def code_in_a_pickle(folder: Path) -> Path:
    class Danger:
        def __reduce__(self) -> tuple:
            return (Path.touch, (folder / "touched",))

    return pt(Danger())(folder)


def code_beside_the_features(folder: Path) -> Path:
    class Danger:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(folder / "touched"),))

    return pt({"features": VALUES, "more": Danger()})(folder)


def program(folder: Path) -> Path:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "slide.pt")
    return folder / "slide.pt"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "slide.h5")
    return folder / "slide.h5"


def pipe_pt(folder: Path) -> Path:
    os.mkfifo(folder / "slide.pt")
    return folder / "slide.pt"


def pipe_in_zarr(folder: Path) -> Path:
    path = stored_in_zarr(features=VALUES)(folder)
    os.mkfifo(path / "features" / "9.9")
    return path


def device(folder: Path) -> Path:
    (folder / "slide.h5").symlink_to("/dev/zero")
    return folder / "slide.h5"


def socket_file(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "slide.h5"))
    return folder / "slide.h5"


def folder_h5(folder: Path) -> Path:
    (folder / "slide.h5").mkdir()
    return folder / "slide.h5"


def file_zarr(folder: Path) -> Path:
    (folder / "slide.zarr").write_text("x")
    return folder / "slide.zarr"


def never_written(patches: int, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with h5py.File(folder / "slide.h5", "w") as file:
            file.create_dataset("features", shape=(patches, 4), dtype="f4", **options)
        return folder / "slide.h5"

    return write


def killed_extraction(folder: Path) -> Path:
    path = never_written(900, chunks=(100, 4), maxshape=(None, 4))(folder)
    with h5py.File(path, "a") as file:
        file["features"][:600] = 1.5
    return path


def billion_rows_of_zeros(folder: Path) -> Path:
    """All of its chunks are there, so that only their size gives it away (1e6 rows here: 4 MB that hold 40 kB)."""
    path = never_written(10**6, chunks=(10**5, 4), compression="gzip")(folder)
    with h5py.File(path, "a") as file:
        file["features"][:] = np.zeros((10**6, 4), np.float32)
    return path


def reserved_on_disk(folder: Path) -> Path:
    """Six terabytes that are reserved in a sparse file and were never written."""
    path = h5_of(features=VALUES)(folder)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((10**9, 1536))
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(file.id, b"features", h5py.h5t.NATIVE_FLOAT, space, layout)
    return path


def in_another_file(folder: Path) -> Path:
    h5_of(suffix=".other", features=VALUES)(folder)
    with h5py.File(folder / "slide.h5", "w") as file:
        file["features"] = h5py.ExternalLink(str(folder / "slide.other"), "features")
    return folder / "slide.h5"


def virtual(folder: Path) -> Path:
    h5_of(suffix=".other", features=VALUES)(folder)
    layout = h5py.VirtualLayout((7, 4), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "slide.other"), "features", (7, 4))
    with h5py.File(folder / "slide.h5", "w") as file:
        file.create_virtual_dataset("features", layout)
    return folder / "slide.h5"


def unknown_numbers(folder: Path) -> Path:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(60000)  # numbers that neither this machine nor NumPy can hold
    with h5py.File(folder / "slide.h5", "w") as file:
        h5py.h5d.create(file.id, b"features", kind, h5py.h5s.create_simple((7, 4)))
    return folder / "slide.h5"


def empty_dataset(folder: Path) -> Path:
    with h5py.File(folder / "slide.h5", "w") as file:
        file["features"] = h5py.Empty("f4")
    return folder / "slide.h5"


def zarr_without_chunks(folder: Path) -> Path:
    group = zarr.open_group(folder / "slide.zarr", mode="w", zarr_format=2)
    group.create_array("features", shape=(10**9, 1536), chunks=(100, 1536), dtype="f4")
    return folder / "slide.zarr"


F = SlideFault
SAVE = r"save the features alone: torch.save"
DAMAGED: dict[str, tuple[Callable[[Path], Path], SlideFault, str]] = {
    "absent": (nothing, F.MISSING, "does not exist"),
    "a pipe": (pipe, F.NOT_A_FILE, "is a named pipe, not a file"),
    "a pipe for .pt": (pipe_pt, F.NOT_A_FILE, "is a named pipe, not a file"),
    "a pipe in a zarr folder": (pipe_in_zarr, F.NOT_A_FILE, "is a named pipe, not a file"),
    "a device": (device, F.NOT_A_FILE, "is a device, not a file"),
    "a socket": (socket_file, F.NOT_A_FILE, "is a socket, not a file"),
    "a folder": (folder_h5, F.NOT_A_FILE, "is a folder, not a file"),
    "a file for a zarr folder": (file_zarr, F.NOT_A_FILE, "is a file, not a folder"),
    "no bytes": (no_bytes, F.EMPTY_FILE, r"is empty \(0 bytes\)"),
    "not HDF5": (text, F.UNREADABLE, "cannot be read"),
    "not torch": (text_pt, F.UNREADABLE, "cannot be read: damaged, cut short, or not written by torch.save; extract"),
    "cut short": (cut_short, F.UNREADABLE, "cannot be read"),
    "cut short, .pt": (cut_short_pt, F.UNREADABLE, "cannot be read: damaged, cut short"),
    "in another file": (in_another_file, F.UNREADABLE, "keeps features in another file"),
    "virtual": (virtual, F.UNREADABLE, "keeps features in another file"),
    "other names": (h5("float32", name="tiles"), F.NO_FEATURES, "none of features, feats, .* it holds coords, tiles;"),
    "other names in zarr": (stored_in_zarr(tiles=VALUES), F.NO_FEATURES, "it holds tiles;"),
    "two names": (h5_of(features=VALUES, feats=VALUES), F.AMBIGUOUS, "several arrays .*: features, feats; keep one"),
    "two names in a dict": (pt({"x": TENSOR, "features": TENSOR}), F.AMBIGUOUS, "features, x; keep one"),
    "two models": (raw2features("uni", "conch"), F.AMBIGUOUS, "grids/mpp0.5_px224/features/(uni|conch), grids"),
    "whole numbers": (h5("int32"), F.TYPE, "features of type int32, not floating point"),
    "whole numbers, .pt": (pt(TENSOR.long()), F.TYPE, "features of type int64, not floating point"),
    "whole numbers, NumPy": (pt(VALUES.astype(np.uint8)), F.TYPE, "features of type uint8, not floating point"),
    "whole numbers, zarr": (stored_in_zarr(features=VALUES.astype(int)), F.TYPE, "type int64, not floating point"),
    "long double": (h5("longdouble"), F.TYPE, "features of type float128, not floating point"),
    "complex": (h5("complex64"), F.TYPE, "features of type complex64"),
    "unknown numbers": (unknown_numbers, F.TYPE, "holds numbers of an unknown type"),
    "eight bits": (pt(TENSOR.to(torch.float8_e5m2)), F.TYPE, "features of type float8_e5m2"),
    "sparse": (pt(TENSOR.to_sparse()), F.TYPE, "is torch.sparse_coo, not dense; save it dense"),
    "one axis": (pt(TENSOR[0]), F.SHAPE, r"shape \(4,\), not \(patches, width\)"),
    "one number": (h5_of(features=np.float32(1)), F.SHAPE, r"shape \(\), not"),
    "nothing in the dataset": (empty_dataset, F.SHAPE, r"shape \(\), not"),
    "two slides": (pt(torch.stack([TENSOR, TENSOR])), F.SHAPE, r"shape \(2, 7, 4\)"),
    "no patches": (h5_of(features=VALUES[:0]), F.NO_PATCHES, "has no patches"),
    "no patches, TRIDENT": (h5_of(features=VALUES[:0, 0], coords=COORDS[:0]), F.NO_PATCHES, "has no patches"),
    "a list": (pt([1, 2]), F.NO_FEATURES, f"holds a list, not a tensor; {SAVE}"),
    "a dict of something else": (pt({"a": TENSOR}), F.NO_FEATURES, "none of features, feats, .* it holds a;"),
    "code": (code_in_a_pickle, F.NOT_NUMBERS, f"holds a .*; only tensors.*{SAVE}"),
    "code beside the features": (code_beside_the_features, F.NOT_NUMBERS, f"holds a .*mkdir; only tensors.*{SAVE}"),
    "objects": (pt(np.array([1, "a"], dtype=object)), F.NOT_NUMBERS, f"ObjectDType; only tensors.*{SAVE}"),
    "a program": (program, F.NOT_NUMBERS, "is a TorchScript program"),
    "never written": (never_written(20), F.UNWRITTEN, "were never written"),
    "a killed extraction": (killed_extraction, F.UNWRITTEN, "3 of 9 chunks of its features were never written"),
    "a billion rows": (never_written(10**9), F.UNWRITTEN, "were never written"),
    "a billion rows in chunks": (never_written(10**9, chunks=(1000, 4)), F.UNWRITTEN, "1,000,000 of 1,000,000 chunks"),
    "rows that only seem to be there": (billion_rows_of_zeros, F.UNWRITTEN, "promises 16,000,000 bytes"),
    "reserved": (reserved_on_disk, F.UNWRITTEN, "promises 6,144,000,000,000 bytes"),
    "a billion rows in zarr": (zarr_without_chunks, F.UNWRITTEN, "promises 6,144,000,000,000 bytes"),
    "a billion rows of one number": (pt(torch.zeros(1).expand(10**9, 4)), F.UNWRITTEN, "and holds 4 bytes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_says_what_is_wrong(kind: str, tmp_path: Path) -> None:
    write, fault, expected = DAMAGED[kind]
    path = write(tmp_path)
    for read in (header, read_features, lambda path: read_features_into(path, torch.empty(7, 4))):
        with pytest.raises(FeatureFileError, match=expected) as raised:
            read(path)
        assert (raised.value.fault, raised.value.passing) == (fault, False)
        assert "weights_only" not in str(raised.value), "nobody is told to switch safety off"
    assert not (tmp_path / "touched").exists()


def spoilt(**cells: float) -> np.ndarray:
    """200 good patches with some numbers set: rows given as r3 or r3_9."""
    values = np.random.default_rng(2).normal(size=(200, 4)).astype(np.float32)
    for rows, value in cells.items():
        first, _, last = rows.removeprefix("r").partition("_")
        values[int(first) : int(last or first) + 1] = value
    return values


IMPLAUSIBLE = {
    "zeros": (np.zeros((200, 4), np.float32), F.ZEROS, "200 of 200 patches have features that are all zero"),
    "some zeros": (spoilt(r5_7=0.0), F.ZEROS, "3 of 200 patches have features that are all zero"),
    "huge": (spoilt(r8=-1e30), F.ABSURD, r"1 of 200 patches have features beyond 1e\+08 \(up to 1.0e\+30\)"),
    "too large": (spoilt(r8=2e8), F.ABSURD, "1 of 200 patches"),
    "NaN": (spoilt(r8_9=np.nan), F.NOT_FINITE, "2 of 200 patches have NaN or infinite features"),
    "infinite": (spoilt(r8=-np.inf), F.NOT_FINITE, "1 of 200 patches"),
}


@pytest.mark.parametrize("kind", IMPLAUSIBLE)
@pytest.mark.parametrize("file", ["h5", "h5 in float64", "pt", "zarr"])
def test_values_that_no_encoder_gives_are_refused(kind: str, file: str, tmp_path: Path) -> None:
    values, fault, expected = IMPLAUSIBLE[kind]
    writers = {
        "h5": h5_of(features=values),
        "h5 in float64": h5_of(features=values.astype(np.float64)),
        "pt": pt(torch.from_numpy(values)),
        "zarr": stored_in_zarr(features=values),
    }
    path = writers[file](tmp_path)
    assert header(path) == (200, 4)
    into = [lambda path, dtype=dtype: read_features_into(path, torch.empty(200, 4, dtype=dtype)) for dtype in DTYPES]
    for read in (read_features, *into):
        with pytest.raises(FeatureFileError, match=expected) as raised:
            read(path)
        assert raised.value.fault == fault


DTYPES = (torch.float32, torch.bfloat16)


def test_large_numbers_and_a_rare_patch_of_zeros_are_no_fault(tmp_path: Path) -> None:
    values = spoilt(r5_6=0.0, r9=9e7, r10=-9e7)
    np.testing.assert_array_equal(read_features(h5_of(features=values)(tmp_path)), values)


@pytest.mark.parametrize("coords", [COORDS[:6], COORDS[:, :1], COORDS[:, 0], COORDS.T])
def test_coordinates_that_do_not_fit_are_a_fault_of_the_header(coords: np.ndarray, tmp_path: Path) -> None:
    path = h5_of(features=VALUES, coords=coords)(tmp_path)
    for read in (header, read_coordinates):
        with pytest.raises(FeatureFileError, match="for 7 patches; extract the slide again") as raised:
            read(path)
        assert raised.value.fault == F.COORDINATES


def test_another_size_than_promised_is_refused(tmp_path: Path) -> None:
    path = WRITERS["tensor"](tmp_path)
    with pytest.raises(FeatureFileError, match=r"holds 7 patches of width 4, not \(8, 4\)") as raised:
        read_features_into(path, torch.empty(8, 4))
    assert (raised.value.fault, raised.value.passing) == (F.CHANGED, True)
    with pytest.raises(FeatureFileError, match=r"holds 7 patches of width 4, not \(7, 5\)") as raised:
        read_features_into(path, torch.empty(7, 5))
    assert (raised.value.fault, raised.value.passing) == (F.WIDTH, False)


@pytest.mark.parametrize(
    ("number", "fault", "passing"),
    [
        (errno.EIO, F.DISK, True),
        (errno.ESTALE, F.DISK, True),
        (errno.EMFILE, F.DISK, True),
        (errno.EACCES, F.UNREADABLE, False),
        (errno.ENOENT, F.MISSING, False),
    ],
)
@pytest.mark.parametrize("hidden", [False, True], ids=["errno", "in HDF5's text"])
def test_a_fault_of_the_disk_is_told_from_one_of_the_file(
    number: int, fault: SlideFault, passing: bool, hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"Can't synchronously read data (file read failed: errno = {number}, error message = '...', total = 8)"

    def failing(*_: object, **__: object) -> None:
        raise OSError(text) if hidden else OSError(number, os.strerror(number))

    path = WRITERS["a chunk a patch, growing" if hidden else "TRIDENT, CLAM"](tmp_path)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", failing)
    monkeypatch.setattr(stored_rows, "open", failing, raising=False)
    with pytest.raises(FeatureFileError) as raised:
        read_features_into(path, torch.empty(7, 4))
    assert (raised.value.fault, raised.value.passing) == (fault, passing)


def test_a_slide_whose_reader_is_not_installed_may_be_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = WRITERS["zarr 2"](tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(FeatureFileError, match=r"pip install 'cropkt\[zarr\]'") as raised:
        header(path)
    assert (raised.value.fault, raised.value.passing) == (F.NO_READER, True)


def test_the_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(FeatureFileError(F.DISK, "cannot be read now", passing=True)))
    assert (error.fault, str(error), error.passing) == (F.DISK, "cannot be read now", True)


def test_what_torch_allows_is_what_it_was_after_reading(tmp_path: Path) -> None:
    before = torch.serialization.get_safe_globals()
    read_features(WRITERS["NumPy array, TRIDENT"](tmp_path))
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert np.ndarray not in before
