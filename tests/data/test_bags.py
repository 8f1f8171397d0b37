"""Bags hold what the files hold, once, in a known order; bad slides are left out and named."""

import errno
import mmap
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import pytest
import torch
from small_studies import slide_values

from cropkt.data import bags as bags_module
from cropkt.data.bags import Bags, read_bags, read_slides
from cropkt.data.slide_files import stored_rows
from cropkt.data.slide_files.slide_faults import SkippedSlide, SlideFault, skipped_by_reason
from cropkt.data.streams import mapped as mapped_module
from cropkt.data.study import Cohort, open_study
from cropkt.errors import StudyError

BAD = "TCGA-AC-0003-01Z-00-DX1"  # a patient with two slides
ONLY = "TCGA-AC-0004-01Z-00-DX1"  # a patient with one slide


def opened(study: object) -> Cohort:
    return open_study(study.folder).cohorts["acc"]


def expected(cohort: Cohort, patient: str) -> np.ndarray:
    rows = cohort.slides[cohort.slides["patient_id"] == patient]
    return np.concatenate([slide_values(row.slide, row.patches) for row in rows.itertuples()])


def bag(bags: Bags, patient: str) -> np.ndarray:
    number = bags.patients.index(patient)
    return bags.features[bags.offsets[number] : bags.offsets[number + 1]].float().numpy()


def test_a_patients_slides_follow_each_other_in_the_bag(small_study: Callable) -> None:
    cohort = opened(small_study("acc"))
    bags = read_bags(cohort)
    assert bags.patients == tuple(cohort.labels.index)
    assert bags.features.dtype == torch.float32
    assert bags.features.is_contiguous()
    assert bags.offsets.dtype == torch.int64
    assert (bags.offsets[0], bags.offsets[-1]) == (0, cohort.slides["patches"].sum())
    assert len(bags) == 12
    assert bags.lengths.tolist() == cohort.slides.groupby("patient_id")["patches"].sum().tolist()
    for patient in bags.patients:
        np.testing.assert_array_equal(bag(bags, patient), expected(cohort, patient))


def test_each_file_is_read_once(small_study: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = opened(small_study("acc"))
    read = []
    original = bags_module.read_features_into
    monkeypatch.setattr(bags_module, "read_features_into", lambda path, part: (read.append(path), original(path, part)))
    read_bags(cohort)
    assert read == cohort.slides["path"].tolist()


def test_bfloat16_bags_are_the_rounded_ones(small_study: Callable) -> None:
    cohort = opened(small_study("acc"))
    exact, rounded = read_bags(cohort), read_bags(cohort, dtype=torch.bfloat16)
    assert torch.equal(rounded.features, exact.features.bfloat16())


def test_scratch_gives_the_same_bags_and_leaves_nothing_behind(small_study: Callable, tmp_path: Path) -> None:
    cohort = opened(small_study("acc"))
    for dtype in (torch.float32, torch.bfloat16):
        mapped = read_bags(cohort, dtype=dtype, scratch=tmp_path / "scratch")
        assert torch.equal(mapped.features, read_bags(cohort, dtype=dtype).features)
        assert mapped.features.untyped_storage().is_shared()
        assert list((tmp_path / "scratch").iterdir()) == []


def test_what_is_mapped_leaves_memory_and_comes_back(small_study: Callable, tmp_path: Path) -> None:
    study = small_study("acc")
    study.write_slide("ACC", "TCGA-AC-0001-01Z-00-DX1", np.random.default_rng(0).normal(size=(400_000, 6)))
    cohort = opened(study)
    mapped, held = read_bags(cohort, scratch=tmp_path / "scratch"), read_bags(cohort)
    size = mapped.features.nbytes
    assert (mapped.mapped, held.mapped) == (True, False)
    assert torch.equal(mapped.features, held.features)
    looked_at = own_memory()
    for bags in (mapped, held):
        bags.release()
    assert looked_at - own_memory() > 0.8 * size
    assert torch.equal(mapped.features, held.features)
    assert looked_at - own_memory() < 0.2 * size


def own_memory() -> int:
    """Bytes of this process, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_a_full_scratch_disk_is_said(small_study: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cohort = opened(small_study("acc"))
    monkeypatch.setattr(mapped_module.os, "posix_fallocate", full)
    with pytest.raises(StudyError, match=r"cannot hold the 0.00 GiB of acc \(No space left on device\)"):
        read_bags(cohort, scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def nan(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["features"][0, 1, 2] = np.nan


def infinite(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["features"][0, :2, 2] = (np.inf, -np.inf)


def empty(path: Path) -> None:
    rewrite(path, (1, 0, 6))


def narrower(path: Path) -> None:
    rewrite(path, (1, 2, 5))


def longer(path: Path) -> None:
    rewrite(path, (1, 50, 6))


def damaged(path: Path) -> None:
    path.write_bytes(b"404")


def gone(path: Path) -> None:
    path.unlink()


def rewrite(path: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = np.ones(shape, np.float32)


def zeros(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["features"][0, :3] = 0


def killed(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", shape=(5, 6), dtype="f4", chunks=(1, 6))[:2] = 1


def billion(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("features", shape=(10**9, 6), dtype="f4", chunks=(1000, 6))[:2] = 1


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT = {
    nan: (SlideFault.NOT_FINITE, "1 of 5 patches have NaN or infinite features"),
    infinite: (SlideFault.NOT_FINITE, "2 of 5 patches have NaN or infinite features"),
    zeros: (SlideFault.ZEROS, "3 of 5 patches have features that are all zero"),
    killed: (SlideFault.UNWRITTEN, "3 of 5 chunks of its features were never written"),
    billion: (SlideFault.UNWRITTEN, "999,999 of 1,000,000 chunks"),
    empty: (SlideFault.NO_PATCHES, "has no patches"),
    narrower: (SlideFault.WIDTH, "width 5"),
    longer: (SlideFault.CHANGED, "holds 50 patches"),
    damaged: (SlideFault.UNREADABLE, "cannot be read"),
    gone: (SlideFault.MISSING, "does not exist"),
    pipe: (SlideFault.NOT_A_FILE, "is a named pipe"),
}


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads that torch may use, and that read slides ahead."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slides_that_are_read_ahead_give_the_same_bags(
    small_study: Callable, threads: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = opened(small_study("acc"))
    readers = set()
    original = bags_module.read_features_into
    monkeypatch.setattr(
        bags_module,
        "read_features_into",
        lambda path, part: (readers.add(threading.get_ident()), original(path, part))[1],
    )
    bags = read_bags(cohort, dtype=dtype)
    assert (threading.get_ident() in readers) == (threads == 1)
    assert torch.get_num_threads() == threads, "as before, for whoever computes next"
    for patient in bags.patients:
        wanted = torch.from_numpy(expected(cohort, patient)).to(dtype).float().numpy()
        np.testing.assert_array_equal(bag(bags, patient), wanted)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("inference", [False, True])
def test_bags_can_be_read_in_any_mode_of_torch(small_study: Callable, inference: bool) -> None:
    cohort = opened(small_study("acc"))
    with torch.inference_mode(inference):
        bags = read_bags(cohort, strict=True)
    assert bags.features.is_inference() == inference
    for patient in bags.patients:
        np.testing.assert_array_equal(bag(bags, patient), expected(cohort, patient))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_slide_that_is_bad_when_read_is_left_out_and_named(small_study: Callable, spoil: Callable) -> None:
    study = small_study("acc")
    cohort = opened(study)
    path = study.features("ACC", BAD)
    kind, reason = SPOILT[spoil]
    spoil(path)
    with pytest.warns(UserWarning, match=reason) as warned:
        bags = read_bags(cohort)
    (warning,) = warned
    assert f"acc: {path}, slide {BAD}, patient TCGA-AC-0003: " in str(warning.message)
    assert "extract it again" in str(warning.message)
    (skipped,) = bags.skipped
    assert (skipped.cohort, skipped.slide, skipped.patient, skipped.path) == ("acc", BAD, "TCGA-AC-0003", str(path))
    assert (skipped.kind, skipped.passing) == (kind, kind == SlideFault.CHANGED)

    # The patient goes on with the other slide, and every other bag is what it was.
    other = cohort.slides[cohort.slides["slide"] != BAD]
    for patient in cohort.labels.index:
        np.testing.assert_array_equal(bag(bags, patient), expected(replace(cohort, slides=other), patient))
    with pytest.raises(StudyError, match=reason):
        read_bags(cohort, strict=True)


@pytest.mark.parametrize("spoil", [nan, empty, gone])
def test_a_patient_without_a_good_slide_has_no_bag(small_study: Callable, spoil: Callable) -> None:
    study = small_study("acc")
    cohort = opened(study)
    spoil(study.features("ACC", ONLY))
    with pytest.warns(UserWarning, match=ONLY):
        bags = read_bags(cohort)
    assert "TCGA-AC-0004" not in bags.patients
    assert len(bags) == len(bags.offsets) - 1 == 11
    np.testing.assert_array_equal(bag(bags, "TCGA-AC-0005"), expected(cohort, "TCGA-AC-0005"))


LASTING = [empty, damaged, killed, billion, pipe, narrower]


@pytest.mark.parametrize("spoil", LASTING, ids=lambda spoil: spoil.__name__)
def test_a_slide_that_was_bad_when_the_study_was_opened_is_left_out(small_study: Callable, spoil: Callable) -> None:
    study = small_study("acc")
    spoil(study.features("ACC", BAD))
    cohort = opened(study)
    with pytest.warns(UserWarning, match=BAD):
        bags = read_bags(cohort)
    assert [(slide.slide, slide.kind, slide.passing) for slide in bags.skipped] == [(BAD, SPOILT[spoil][0], False)]
    (known,) = cohort.unusable
    assert (known.slide, known.kind) == (BAD, SPOILT[spoil][0])


def test_a_slide_the_disk_could_not_read_once_is_told_from_a_bad_one(
    small_study: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result made without it must not count as whole: it may be there the next time."""
    cohort = opened(small_study("acc"))

    def failing(path: Path, mode: str) -> BinaryIO:
        if BAD in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return open(path, mode)

    monkeypatch.setattr(stored_rows, "open", failing, raising=False)
    with pytest.warns(UserWarning, match=r"cannot be read now \(Input/output error\)"):
        (skipped,) = read_bags(cohort).skipped
    assert (skipped.slide, skipped.kind, skipped.passing) == (BAD, SlideFault.DISK, True)


def test_a_slide_that_recovered_since_the_study_was_opened_is_used_by_the_next_run(small_study: Callable) -> None:
    study = small_study("acc")
    path = study.features("ACC", BAD)
    whole = path.read_bytes()
    damaged(path)
    cohort = opened(study)
    path.write_bytes(whole)
    with pytest.warns(UserWarning, match="can be now; run again to use it"):
        (skipped,) = read_bags(cohort).skipped
    assert (skipped.kind, skipped.passing) == (SlideFault.CHANGED, True)
    assert read_bags(opened(study)).skipped == ()


def test_large_but_finite_features_are_no_fault(small_study: Callable) -> None:
    study = small_study("acc")
    study.write_slide("ACC", BAD, np.full((5, 6), 9e7, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_bags(opened(study)).skipped == ()


def test_slides_of_no_study_are_left_out_by_the_same_rules(small_study: Callable) -> None:
    study = small_study("acc")
    good, bad = study.features("ACC", ONLY), study.features("ACC", BAD)
    narrower(bad)
    with pytest.warns(UserWarning, match="has 5 features, not 6"):
        bags = read_slides([("p", good), ("q", bad)], 6)
    assert bags.patients == ("p",)
    assert [slide.kind for slide in bags.skipped] == [SlideFault.WIDTH]


def test_slides_left_out_are_counted_one_line_a_reason() -> None:
    def slide(number: int, kind: SlideFault) -> SkippedSlide:
        return SkippedSlide("acc", f"s{number}", f"p{number}", f"s{number}.h5", kind, f"reason {number}")

    skipped = [slide(1, SlideFault.ZEROS), slide(2, SlideFault.MISSING), slide(3, SlideFault.MISSING)]
    assert skipped_by_reason(skipped) == [
        "2 slides left out, no such file (e.g. s2.h5, patient p2, slide s2: reason 2)",
        "1 slide left out, patches whose features are all zero (s1.h5, patient p1, slide s1: reason 1)",
    ]
    assert skipped_by_reason([]) == []


def test_a_cohort_without_a_good_slide_is_an_error(small_study: Callable) -> None:
    study = small_study("acc")
    cohort = opened(study)
    for path in cohort.slides["path"]:
        gone(Path(path))
    with (
        pytest.warns(UserWarning, match="does not exist"),
        pytest.raises(StudyError, match="acc: none of its 16 slides can be used"),
    ):
        read_bags(cohort)


FIVE = Bags(tuple("abcde"), torch.arange(22.0).reshape(11, 2), torch.tensor([0, 2, 3, 7, 7, 11]), ())


@pytest.mark.parametrize("chosen", [[0], [1, 2], [4, 0, 2], [2, 2], [3], [0, 1, 2, 3, 4], [1, 0], [0, 2, 3]])
def test_taking_bags_concatenates_them_in_order(chosen: list[int]) -> None:
    taken = FIVE.take(chosen)
    parts = [FIVE.features[FIVE.offsets[bag] : FIVE.offsets[bag + 1]] for bag in chosen]
    assert taken.patients == tuple("abcde"[bag] for bag in chosen)
    assert torch.equal(taken.features, torch.cat(parts))
    assert taken.lengths.tolist() == [len(part) for part in parts]
    assert taken.offsets[0] == 0
    again = taken.take(np.arange(len(chosen)))
    assert torch.equal(again.features, taken.features)


@pytest.mark.parametrize("chosen", [range(1, 4), [0], np.array([2, 3, 4])])
def test_bags_that_follow_each_other_are_taken_without_a_copy(chosen: object) -> None:
    taken = FIVE.take(chosen)
    assert taken.features.untyped_storage().data_ptr() == FIVE.features.untyped_storage().data_ptr()


def test_taking_no_bag_gives_no_patches() -> None:
    taken = FIVE.take([])
    assert (taken.patients, tuple(taken.features.shape), taken.offsets.tolist()) == ((), (0, 2), [0])


@pytest.mark.parametrize("chosen", [[-1], [5], [0, 7]])
def test_a_bag_that_is_not_there_is_an_error(chosen: list[int]) -> None:
    with pytest.raises(IndexError, match="there are 5"):
        FIVE.take(chosen)


def test_bags_move_between_devices_as_a_whole() -> None:
    moved = FIVE.to("meta")
    assert (moved.features.device.type, moved.offsets.device.type) == ("meta", "meta")
    assert FIVE.to("cpu").features.data_ptr() == FIVE.features.data_ptr()
    taken = moved.take([4, 0])  # a device never has to be asked for the offsets
    assert tuple(taken.features.shape) == (6, 2)
