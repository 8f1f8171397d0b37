"""Streamed bags are the resident ones, tile by tile; a bad slide leaves, wherever it is cut; nothing piles up."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from small_studies import DIM, SmallStudy

from cropkt.data.bags import Bags, read_bags
from cropkt.data.streams.stream import BagStream, NoBagLeftError, stream_bags, walk_through
from cropkt.data.streams.tiles import BagChangedError, LongBag, read_ahead
from cropkt.data.study import Cohort, open_study
from cropkt.errors import StudyError

BAD = "TCGA-AC-0003-01Z-00-DX1"  # the first of two slides, 5 patches; the second has 6


def opened(study: SmallStudy) -> Cohort:
    return open_study(study.folder).cohorts["acc"]


def gathered(bags: Bags | BagStream, patches: int, longest: int | None) -> tuple[list[str], torch.Tensor]:
    """Patients in the order they come, and all patches one after the other."""
    patients: list[str] = []
    features = []
    for tile in bags.tiles(patches, longest):
        if isinstance(tile, Bags):
            patients += tile.patients
            features.append(tile.features)
            continue
        try:
            parts = list(tile.parts())
        except BagChangedError:
            parts = list(tile.parts())
        assert all(len(part) <= (longest or 0) for part in parts)
        patients += [tile.patient] if parts else []
        features += parts
    return patients, torch.cat(features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("patches", "longest"), [(1, 1), (7, 3), (1000, 4), (10, None)])
def test_a_stream_gives_the_resident_patches(
    small_study: Callable[..., SmallStudy], dtype: torch.dtype, patches: int, longest: int | None
) -> None:
    cohort = opened(small_study("acc"))
    resident, stream = read_bags(cohort, dtype=dtype), stream_bags(cohort, dtype=dtype)
    for bags in (resident, stream):
        patients, features = gathered(bags, patches, longest)
        assert tuple(patients) == resident.patients
        assert torch.equal(features, resident.features)
    assert stream.patients == resident.patients
    assert torch.equal(stream.lengths, resident.lengths)
    torch.testing.assert_close(stream.means(), resident.means())
    assert stream.longest == resident.longest


def test_facts_are_found_by_a_walk_when_they_are_asked_for_first(small_study: Callable[..., SmallStudy]) -> None:
    cohort = opened(small_study("acc"))
    resident = read_bags(cohort)
    assert len(stream_bags(cohort)) == len(resident)
    assert stream_bags(cohort).indices_of(["nobody", resident.patients[3]]).tolist() == [3]


@pytest.mark.parametrize("longest", [None, 20, 2])
def test_a_slide_with_nan_in_its_last_patch_leaves_the_bag(
    small_study: Callable[..., SmallStudy], longest: int | None
) -> None:
    """Cut, its first patches have gone out before the last one shows that it is bad."""
    study = small_study("acc")
    cohort = opened(study)
    with h5py.File(study.features("ACC", BAD), "a") as file:
        file["features"][0, -1, 2] = np.nan
    with pytest.warns(UserWarning, match=BAD):
        resident = read_bags(cohort)
    stream = stream_bags(cohort)
    patients, features = gathered(stream, 7, longest)
    assert tuple(patients) == resident.patients
    assert torch.equal(features, resident.features)
    assert stream.skipped == resident.skipped
    torch.testing.assert_close(stream.means(), resident.means())
    with pytest.raises(StudyError, match="NaN"):
        gathered(stream_bags(cohort, strict=True), 7, longest)


def test_a_patient_whose_only_slide_is_bad_has_no_bag(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    cohort = opened(study)
    study.features("ACC", "TCGA-AC-0004-01Z-00-DX1").unlink()
    stream = stream_bags(cohort)
    assert gathered(stream, 2, 2)[0] == [name for name in cohort.labels.index if name != "TCGA-AC-0004"]
    assert len(stream) == 11


def test_no_good_slide_at_all_is_an_error_that_knows_them_all(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    cohort = opened(study)
    for path in (study.folder / "features" / "TCGA-ACC").iterdir():
        path.write_bytes(b"404")
    with pytest.raises(NoBagLeftError, match="none of its 16 slides") as raised:
        gathered(stream_bags(cohort), 7, None)
    assert len(raised.value.facts.skipped) == 16


def test_tiles_are_made_small_enough_for_the_budget(small_study: Callable[..., SmallStudy]) -> None:
    study = small_study("acc")
    study.write_slide("ACC", BAD, np.ones((5000, DIM), np.float32))
    memory = 6 * 1000 * DIM * 4  # six portions of 1,000 patches
    stream = stream_bags(opened(study), memory=memory)
    (long,) = [tile for tile in stream.tiles(10**6, 10**6) if isinstance(tile, LongBag) and walk_through(tile)]
    assert [len(part) for part in long.parts()] == [1000] * 5 + [6]
    with pytest.raises(StudyError, match=r"acc: it needs 1 MB of memory and may fill 144 kB; raise --memory"):
        stream.require_room(10**6, "it")


def test_reading_ahead_keeps_order_and_stays_one_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    taken = []
    for number in read_ahead(numbers()):
        assert len(made) <= number + 3  # this one, one waiting, one in the making
        taken.append(number)
    assert taken == list(range(20))


def test_an_error_of_the_reader_arrives_in_its_place_and_a_reader_left_early_ends() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    before = threading.active_count()
    items = read_ahead(failing())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)
    left = read_ahead(iter(range(10**9)))
    assert next(left) == 0
    left.close()
    assert threading.active_count() == before


GROWTH = """
import sys
from pathlib import Path
import torch
from cropkt.data.streams.stream import BagStream
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, TrainedWith
from cropkt.models.predict import predict

torch.set_num_threads(1)


def peak():
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    def read():
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
    return read


def growth(name, path, patches):
    model = build_null_model(Architecture(16, name=name, embedding=16, attention=8), 0).eval()
    model.trained_with = TrainedWith("discrete_nll", "float32")
    bags = BagStream("acc", [("p", "s", path, patches)], 16, torch.float32, memory=2**20)
    read = peak()
    before = read()
    predict([model] * 3, bags)
    return read() - before


for name in sys.argv[3:]:
    growth(name, sys.argv[1], 2000)  # what a first use loads
    print(growth(name, sys.argv[1], 2000), growth(name, sys.argv[2], 600_000))
"""


def test_one_slide_of_600_000_patches_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for patches, path in ((2000, tmp_path / "short.h5"), (600_000, tmp_path / "long.h5")):
        with h5py.File(path, "w") as file:
            file["features"] = random.normal(size=(patches, 16)).astype(np.float32)
    names = ("abmil", "max", "dsmil")
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "short.h5"), str(tmp_path / "long.h5"), *names]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    size = (tmp_path / "long.h5").stat().st_size
    assert size == pytest.approx(600_000 * 64, rel=0.01)
    for name, line in zip(names, lines, strict=True):
        short, long = map(int, line.split())
        assert long - short < size / 2, name
