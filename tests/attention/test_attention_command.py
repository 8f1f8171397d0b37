"""`cropkt attention`: the same looks from a library and from a run, and files that say where they are."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from made_library import Made, make
from made_slide import SIZE, pieces, write_image, write_slide
from PIL import Image

from cropkt.attention.look import look
from cropkt.experiments.commands import main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_slide(tmp_path / "P-7.h5", pieces(30), patch_size_level0=SIZE)


def attend(*arguments: object) -> int:
    return main(["attention", *map(str, arguments)])


@pytest.mark.usefixtures("quick_pictures")
def test_every_file_tells_the_same(made: Made, slide: Path, tmp_path: Path) -> None:
    to = tmp_path / "looks"
    assert (
        attend("--library", made.library.folder, "--source", "acc,uvm", "--slide", slide, "--to", to, "--top", 7) == 0
    )
    with h5py.File(slide) as file:
        features = file["features"][:]
    sources = {source: made.library.models(source) for source in ("acc", "uvm")}
    expected = look("P-7", features, sources)
    with h5py.File(to / "P-7" / "attention.h5") as file:
        assert np.array_equal(file["coords"][:], pieces(30))
        assert file["coords"].attrs["patch_size"] == SIZE
        for source, attention in zip(expected.sources, expected.attention, strict=True):
            assert file[f"attention/{source}"][:] == pytest.approx(attention, rel=1e-5)
    top = pd.read_csv(to / "P-7" / "top_patches.csv")
    assert len(top) == 14
    for source, attention in zip(expected.sources, expected.attention, strict=True):
        of_source = top[top["source"] == source]
        assert list(of_source["row"]) == list(np.argsort(-attention)[:7])
        assert np.array_equal(of_source[["x", "y"]], pieces(30)[of_source["row"]])
        tiles = json.loads((to / "P-7" / f"{source}.geojson").read_text())["features"]
        assert len(tiles) == len(features)
        most = tiles[int(of_source["row"].iloc[0])]
        x, y = of_source[["x", "y"]].iloc[0]
        ring = most["geometry"]["coordinates"][0]
        assert ring == [[x, y], [x + SIZE, y], [x + SIZE, y + SIZE], [x, y + SIZE], [x, y]]
        measured = most["properties"]["measurements"]
        assert measured[f"attention {source} (times mean)"] == pytest.approx(attention.max() * len(attention), rel=1e-3)
        assert measured[f"attention {source} (percentile)"] == pytest.approx(100 - 50 / len(features), abs=1e-3)
        darkest = min(tiles, key=lambda tile: sum(tile["properties"]["color"]))
        assert darkest["properties"]["color"] == most["properties"]["color"]
    overlap = pd.read_csv(to / "P-7" / "overlap.csv").iloc[0]
    assert overlap["overlap"] == pytest.approx(np.minimum(*expected.attention).sum(), abs=1e-5)


@pytest.mark.usefixtures("quick_pictures")
def test_a_run_and_its_library_look_alike(made: Made, slide: Path, tmp_path: Path) -> None:
    models = {"library": ("--library", made.library.folder), "run": ("--out", made.results.out)}
    found = {}
    for name, given in models.items():
        assert attend(*given, "--source", "meso,acc", "--fold", 1, "--slide", slide, "--to", tmp_path / name) == 0
        with h5py.File(tmp_path / name / "P-7" / "attention.h5") as file:
            found[name] = np.stack([file[f"attention/{source}"][:] for source in ("meso", "acc")])
    assert np.array_equal(found["library"], found["run"])
    with h5py.File(slide) as file:
        expected = look("P-7", file["features"][:], {s: [made.library.models(s)[1]] for s in ("meso", "acc")})
    assert found["run"] == pytest.approx(expected.attention, rel=1e-5)


@pytest.mark.usefixtures("quick_pictures")
def test_one_source_has_nothing_to_overlap_with(made: Made, slide: Path, tmp_path: Path) -> None:
    assert attend("--out", made.results.out, "--source", "meso", "--slide", slide, "--to", tmp_path) == 0
    assert not (tmp_path / "P-7" / "overlap.csv").exists()


def test_the_picture_shows_both_pieces_and_where_attention_is(made: Made, slide: Path, tmp_path: Path) -> None:
    """Tissue is coloured, the gap between the pieces is white, and the darkest region is where attention is."""
    to = tmp_path / "looks"
    assert attend("--library", made.library.folder, "--source", "acc", "--slide", slide, "--to", to) == 0
    pixels = np.asarray(Image.open(to / "P-7" / "attention.png").convert("RGB")).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60)[: int(0.85 * len(pixels))]
    columns = np.flatnonzero(coloured.any(axis=0))
    assert 1 <= (np.diff(columns) > 5).sum() <= 3
    with h5py.File(to / "P-7" / "attention.h5") as file:
        attention, corners = file["attention/acc"][:], file["coords"][:]
    most = corners[np.argsort(-attention)[: len(attention) // 20]]
    share_left = (most[:, 0] < np.median(corners[:, 0])).mean()
    dark = coloured & (pixels[: len(coloured)].sum(axis=2) < 250)
    middle = np.median(np.flatnonzero(coloured.any(axis=0)))
    assert (np.nonzero(dark)[1] < middle).mean() == pytest.approx(share_left, abs=0.35)


@pytest.mark.usefixtures("quick_pictures")
def test_over_the_slides_own_picture(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    corners = pieces(30, 16)
    slide = write_slide(tmp_path / "P-8.h5", corners, patch_size_level0=16)
    write_image(tmp_path / "P-8.0a1b.tif", corners, 16, edge=512)
    arguments = ("--library", made.library.folder, "--source", "acc", "--slide", slide)
    assert attend(*arguments, "--to", tmp_path / "over", "--image", tmp_path) == 0
    pixels = np.asarray(Image.open(tmp_path / "over" / "P-8" / "attention.png").convert("RGB")).astype(int)
    pink = (pixels[:, :, 0] > 180) & (pixels[:, :, 1] < 180) & (pixels[:, :, 2] > 150)
    assert pink.mean() > 0.1
    assert attend(*arguments, "--to", tmp_path / "none", "--image", tmp_path / "over") == 2


@pytest.mark.usefixtures("quick_pictures")
def test_one_bad_slide_does_not_cost_the_others(
    made: Made, slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(b"not HDF5")
    to = tmp_path / "looks"
    assert attend("--library", made.library.folder, "--source", "acc", "--slide", bad, slide, "--to", to) == 1
    assert (to / "P-7" / "attention.png").exists()
    assert str(bad) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of them"),
        (("--library", "nowhere"), "no library here"),
        (("--source", "brca", "LIBRARY"), "'brca' is unknown"),
        (("--fold", "7", "LIBRARY"), "acc has folds 0, 1, 2"),
        (("--top", "0", "LIBRARY"), "1 or more"),
        (("--source", "brca", "RUN"), "no models of brca"),
    ],
)
def test_wrong_input_is_one_message(
    made: Made, slide: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"LIBRARY": ("--library", str(made.library.folder)), "RUN": ("--out", str(made.results.out))}
    given = [word for name in arguments for word in places.get(name, (name,))]
    source = () if "--source" in given else ("--source", "acc")
    assert attend(*given, *source, "--slide", slide) == 2
    assert message in capsys.readouterr().err
