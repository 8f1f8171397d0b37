"""A pack is the study's files in another shape: same bags, same fingerprint, and damage and change are seen."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.data.packs.index import INDEX, PackedSlide, load_index
from cropkt.data.packs.write import pack_cohorts
from cropkt.data.slide_files.digests import digest_cache
from cropkt.data.slide_files.features import read_coordinates, write_h5
from cropkt.data.streams.stream import stream_bags
from cropkt.data.study import Study, open_study
from cropkt.errors import ConfigError, StudyError
from cropkt.experiments.commands import main

BAD = "TCGA-AC-0003-01Z-00-DX1"


def pack(study: SmallStudy, dtype: str = "float32", workers: int = 1, file_bytes: int = 200) -> Path:
    """Pack all cohorts where the study looks for them, in files of a patient or two."""
    opened = open_study(study.folder, packed=False)
    folder = study.folder / "packs" / "uni2-h"
    cohorts = list(opened.cohorts.values())
    cache = digest_cache(study.folder)
    pack_cohorts(cohorts, folder, dtype=dtype, workers=workers, cache=cache, file_bytes=file_bytes)
    return folder


def packed_share(study: Study) -> float:
    return float(np.mean([path.endswith(".packed") for path in study.cohorts["acc"].slides["path"]]))


@pytest.mark.parametrize("files_are", ["there", "gone", "half gone"])
def test_a_study_is_the_same_from_packs_and_from_files(small_study: Callable[..., SmallStudy], files_are: str) -> None:
    study = small_study("acc", "uvm")
    before = open_study(study.folder)
    expected = {code: read_bags(cohort) for code, cohort in before.cohorts.items()}
    pack(study)
    if files_are == "gone":
        shutil.rmtree(study.folder / "features")
    elif files_are == "half gone":
        shutil.rmtree(study.folder / "features" / "TCGA-UVM")
    after = open_study(study.folder)
    assert packed_share(after) == 1
    for code, cohort in after.cohorts.items():
        assert cohort.fingerprint == before.cohorts[code].fingerprint
        for bags in (read_bags(cohort), stream_bags(cohort)):
            assert bags.patients == expected[code].patients
            assert torch.equal(bags.lengths, expected[code].lengths)
        tiles = [tile.features for tile in stream_bags(cohort).tiles(7, None)]  # type: ignore[union-attr]
        assert torch.equal(torch.cat(tiles), expected[code].features)
        assert torch.equal(read_bags(cohort).features, expected[code].features)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_numbers_are_equal_at_equal_precision_and_refused_at_another(
    small_study: Callable[..., SmallStudy], dtype: str
) -> None:
    study = small_study("acc")
    cohort = open_study(study.folder).cohorts["acc"]
    pack(study, dtype)
    packed = open_study(study.folder).cohorts["acc"]
    kind = getattr(torch, dtype)
    assert torch.equal(read_bags(packed, dtype=kind).features, read_bags(cohort, dtype=kind).features)
    if dtype == "float32":
        rounded = read_bags(packed, dtype=torch.bfloat16).features
        assert torch.equal(rounded, read_bags(cohort, dtype=torch.bfloat16).features)
        return
    with pytest.raises(StudyError, match=f"packed as {dtype} from files of float32, and float32 is asked for"):
        read_bags(packed)
    code = main(["sweep", "--study", str(study.folder), "--precision", "float32", "--out", str(study.folder / "out")])
    assert code == 2


def test_a_pack_in_one_file_is_mapped_and_not_copied(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    folder = pack(study, file_bytes=10**9)
    assert len(list((folder / "acc").glob("*.safetensors"))) == 1
    bags = read_bags(open_study(study.folder).cohorts["acc"])
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in maps if line.endswith(".safetensors")]
    assert any(int(low, 16) <= bags.features.data_ptr() < int(high, 16) for low, high in ranges)


def test_coordinates_are_packed_as_the_files_have_them(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    path = study.features("ACC", BAD)
    with h5py.File(path) as file:
        features = file["features"][0]
    write_h5(path, features, np.arange(2 * len(features), dtype=np.int64).reshape(-1, 2) * 10**9)
    with h5py.File(study.features("ACC", "TCGA-AC-0004-01Z-00-DX1"), "a") as file:
        del file["coords"]
    before = open_study(study.folder).cohorts["acc"].slides
    pack(study)
    after = open_study(study.folder).cohorts["acc"].slides
    for one, other in zip(before["path"], after["path"], strict=True):
        expected, found = read_coordinates(one), read_coordinates(other)
        if expected is None:
            assert found is None
            continue
        assert found is not None
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_a_bad_slide_is_as_bad_in_the_pack(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    with h5py.File(study.features("ACC", BAD), "a") as file:
        file["features"][0, -1, 2] = np.nan
    study.features("ACC", "TCGA-AC-0005-01Z-00-DX1").write_bytes(b"404")
    before = stream_bags(open_study(study.folder).cohorts["acc"]).facts
    fingerprint = open_study(study.folder).cohorts["acc"].fingerprint
    pack(study)
    shutil.rmtree(study.folder / "features")
    opened = open_study(study.folder).cohorts["acc"]
    after = stream_bags(opened).facts
    assert opened.fingerprint == fingerprint
    assert after.patients == before.patients
    assert [(slide.slide, slide.kind) for slide in after.skipped] == [(s.slide, s.kind) for s in before.skipped]
    torch.testing.assert_close(after.means, before.means)


def test_a_slide_that_has_changed_since_is_read_from_its_file(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    pack(study)
    with h5py.File(study.features("ACC", BAD), "a") as file:
        file["features"][0, 0, 0] = 77
    opened = open_study(study.folder)
    assert packed_share(opened) == 15 / 16
    assert any("1 slides have changed since they were packed" in line for line in opened.warnings)
    assert float(read_bags(opened.cohorts["acc"]).features.max()) == 77
    pack(study)
    opened = open_study(study.folder)
    assert packed_share(opened) == 1
    assert float(read_bags(opened.cohorts["acc"]).features.max()) == 77


def test_what_is_packed_is_kept_and_several_processes_pack_the_same(
    small_study: Callable[..., SmallStudy], tmp_path: Path
) -> None:
    study = small_study("acc", "uvm")
    folder = pack(study, workers=2)
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert len(files) > 10
    one_process = tmp_path / "one"
    shutil.copytree(folder, one_process)
    next(iter(files)).unlink()
    pack(study)
    again = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert again.keys() == files.keys()
    assert sum(again[path] != files[path] for path in files) == 1
    for path in files:
        assert path.read_bytes() == (one_process / path.relative_to(folder)).read_bytes()


def test_two_runs_do_not_pack_into_one_folder(small_study: Callable[..., SmallStudy]) -> None:
    import fcntl

    study = small_study("acc")
    folder = study.folder / "packs" / "uni2-h"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run is packing"):
            pack(study)


@pytest.mark.parametrize("part", ["features", "coords"])
def test_verify_finds_a_flipped_byte(
    small_study: Callable[..., SmallStudy], capsys: pytest.CaptureFixture[str], part: str
) -> None:
    study = small_study("acc")
    folder = pack(study)
    command = ["pack", "--study", str(study.folder), "--verify"]
    assert main(command) == 0
    assert "all is well" in capsys.readouterr().out
    slide = next(slide for slide in load_index(folder / "acc" / INDEX) if slide.slide == BAD)
    flip(folder / "acc" / slide.file, slide, part)
    assert main(command) == 1
    out = capsys.readouterr().out
    assert f"slide {BAD}: its packed bytes are not those that were written" in out
    assert out.count("packed bytes") == 1
    shutil.rmtree(study.folder / "features")
    assert main(command) == 1


def flip(path: Path, slide: PackedSlide, part: str) -> None:
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    patches = (len(content) - start) // (16 + 4 * slide.width)
    content[start + (patches * 16 + slide.first * slide.width * 4 if part == "features" else slide.first * 16)] ^= 1
    path.write_bytes(content)


def test_verify_finds_a_changed_file_and_a_lost_one(
    small_study: Callable[..., SmallStudy], capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study("acc")
    folder = pack(study)
    with h5py.File(study.features("ACC", BAD), "a") as file:
        file["features"][0, 0, 0] = 77
    assert main(["pack", "--study", str(study.folder), "--verify"]) == 1
    assert f"slide {BAD}: its file has changed since it was packed" in capsys.readouterr().out
    next((folder / "acc").glob("*.safetensors")).unlink()
    assert main(["pack", "--study", str(study.folder), "--verify"]) == 1
    assert "does not exist" in capsys.readouterr().out


@pytest.mark.system
def test_a_pack_that_was_killed_goes_on(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    for path in (study.folder / "features" / "TCGA-ACC").glob("*.h5"):
        write_h5(path, np.random.default_rng(0).normal(size=(20_000, 6)).astype(np.float32), np.zeros((20_000, 2)))
    cohort = open_study(study.folder).cohorts["acc"]
    folder = study.folder / "packs" / "uni2-h"
    code = (
        "from pathlib import Path; from cropkt.data.study import open_study; "
        "from cropkt.data.packs.write import pack_cohorts; import sys; "
        "pack_cohorts(list(open_study(sys.argv[1], packed=False).cohorts.values()), Path(sys.argv[2]), "
        "dtype='float32', workers=2, cache=None, file_bytes=1000)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__': {code}", str(study.folder), str(folder)],
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(folder.rglob("*.safetensors"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "acc" / INDEX).exists()
    while any_of_session(process.pid):  # workers end with their parent
        assert time.monotonic() < deadline
        time.sleep(0.02)
    whole = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert len(whole) < 12
    pack(study, file_bytes=1000)
    assert all(path.stat().st_mtime_ns == changed for path, changed in whole.items())
    assert not list(folder.rglob("*.tmp-*"))
    opened = open_study(study.folder)
    assert packed_share(opened) == 1
    assert torch.equal(read_bags(opened.cohorts["acc"]).features, read_bags(cohort).features)


def any_of_session(session: int) -> bool:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session and " Z " not in (path / "stat").read_text():
                return True
        except OSError:
            continue
    return False
