"""A cohort is known by the content of its slides: what changed is seen, named, and nothing else counts as a change."""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from small_studies import SmallStudy, slide_values

from cropkt.data.identity import CohortIdentity, cohort_identity
from cropkt.data.patients.folds import Fold
from cropkt.data.slide_files import digests as digests_module
from cropkt.data.slide_files.digests import digest_cache, known_headers, slide_digests
from cropkt.data.study import Cohort, open_study
from cropkt.files import write_json

ONE = "TCGA-AC-0001-01Z-00-DX1"
OTHER = "TCGA-AC-0006-01Z-00-DX1"
HOUR = 3600


def opened(study: SmallStudy) -> Cohort:
    return open_study(study.folder).cohorts["acc"]


def age(folder: Path) -> None:
    """Let files look as if they had been written long ago, as those of a study are; ctime cannot be set."""
    for path in folder.rglob("*.h5"):
        os.utime(path, (time.time() - HOUR, time.time() - HOUR))


@pytest.fixture
def aged(small_study: Callable, monkeypatch: pytest.MonkeyPatch) -> SmallStudy:
    """A study opened before, whose digests are all in the cache."""
    monkeypatch.setattr(digests_module, "YOUNG", 0)
    study = small_study("acc")
    study.write_slide("ACC", OTHER, np.random.default_rng(6).normal(size=(3, 6)).astype(np.float32))
    age(study.folder)
    open_study(study.folder)
    assert len(json.loads(digest_cache(study.folder).read_text())["slides"]) == 16
    return study


def extracted_again(study: SmallStudy) -> None:
    """Same slides, same shapes, new numbers and times."""
    for path in sorted(study.folder.glob("features/*/*.h5")):
        with h5py.File(path) as file:
            shape = file["features"].shape[1:]
        values = np.random.default_rng(5).normal(size=shape).astype(np.float32)
        study.write_slide(path.parent.name.removeprefix("TCGA-"), path.stem, values)


def two_swapped(study: SmallStudy) -> None:
    one, other = study.features("ACC", ONE), study.features("ACC", OTHER)
    one.rename(one.with_suffix(".x"))
    other.rename(one)
    one.with_suffix(".x").rename(other)


def one_byte(study: SmallStudy) -> None:
    path = study.features("ACC", ONE)
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    before = path.stat()
    with open(path, "r+b") as file:  # in place, so that inode and size stay
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def label(study: SmallStudy) -> None:
    study.set_cell("acc", 4, "t", "111")


def outcome(study: SmallStudy) -> None:
    """Who was censored has died."""
    assert study.rows("acc")[4][3] == "0"
    study.set_cell("acc", 5, "e", "1")


def fold(study: SmallStudy) -> None:
    text = study.split("acc", 1).read_text().splitlines()
    study.split("acc", 1).write_text("\n".join([text[0], *reversed(text[1:])]) + "\n")


def encoder(study: SmallStudy) -> None:
    study.set(encoders={"uni3": study.settings()["encoders"]["uni2-h"]})


def one_slide_less(study: SmallStudy) -> None:
    study.write_rows("acc", [row for row in study.rows("acc") if row[1] != "TCGA-AC-0003-01Z-00-DX2"])
    study.features("ACC", "TCGA-AC-0003-01Z-00-DX2").unlink()


CHANGES = {
    extracted_again: ["16 slides changed"],
    two_swapped: ["2 slides changed"],
    one_byte: ["1 slide changed"],
    label: ["1 label changed"],
    outcome: ["1 label changed"],
    fold: ["fold 1 changed"],
    encoder: ["encoder uni2-h (6 wide) is now uni3 (6 wide)"],
    one_slide_less: ["1 slide removed"],
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changed_changes_the_fingerprint_and_is_named(aged: SmallStudy, change: Callable) -> None:
    before = opened(aged)
    change(aged)
    after = opened(aged)
    assert after.fingerprint != before.fingerprint
    assert before.identity.differences(after.identity) == CHANGES[change]


def test_a_patient_more_to_choose_a_model_on_is_another_fold(aged: SmallStudy) -> None:
    cohort = opened(aged)

    def identity(folds: Sequence[Fold]) -> CohortIdentity:
        contents = dict.fromkeys(cohort.slides["path"], "the same")
        return cohort_identity("uni2-h", 6, cohort.labels, folds, cohort.slides, contents)

    one, other, *_ = cohort.folds
    chosen = replace(other, validation=(cohort.labels.index[0],))
    assert identity(cohort.folds).differences(identity([one, chosen, *cohort.folds[2:]])) == ["fold 1 changed"]


def new_times(study: SmallStudy) -> None:
    for path in study.folder.rglob("*.h5"):
        os.utime(path)


def written_again(study: SmallStudy) -> None:
    study.write_slide("ACC", ONE, slide_values(ONE, 3))


def moved(study: SmallStudy) -> None:
    study.folder.rename(study.folder.with_name("elsewhere"))
    study.folder = study.folder.with_name("elsewhere")


def copied(study: SmallStudy) -> None:
    shutil.copytree(study.folder, study.folder.with_name("elsewhere"))
    study.folder = study.folder.with_name("elsewhere")


def without_cache(study: SmallStudy) -> None:
    digest_cache(study.folder).unlink()


@pytest.mark.parametrize("change", [new_times, written_again, moved, copied, without_cache])
def test_what_is_the_same_has_the_same_fingerprint(aged: SmallStudy, change: Callable) -> None:
    before = opened(aged)
    change(aged)
    after = opened(aged)
    assert after.fingerprint == before.fingerprint
    assert before.identity.differences(after.identity) == []


def test_an_unchanged_study_opens_without_reading_any_slide(aged: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened(aged)
    monkeypatch.setattr(digests_module, "_file_digest", lambda path: pytest.fail(f"{path} is read again"))
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("a header is read again"))
    after = opened(aged)
    assert after.fingerprint == before.fingerprint
    assert after.slides["patches"].tolist() == before.slides["patches"].tolist()


def test_a_study_that_is_renamed_opens_without_reading_any_slide(
    aged: SmallStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(aged)
    monkeypatch.setattr(digests_module, "_file_digest", lambda path: pytest.fail(f"{path} is read again"))
    opened(aged)


def test_only_what_changed_is_read_again(aged: SmallStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = digests_module._file_digest
    monkeypatch.setattr(digests_module, "_file_digest", lambda path: (read.append(path), original(path))[1])
    one_byte(aged)
    opened(aged)
    assert read == [str(aged.features("ACC", ONE))]


def test_a_file_that_was_just_written_is_not_kept(small_study: Callable) -> None:
    """It could be written again within the same tick of the clock, with the same size."""
    study = small_study("acc")
    open_study(study.folder)
    assert not digest_cache(study.folder).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1, "slides": {"a": [1]}}', b'{"version": 9}', b"\xff"])
def test_a_damaged_cache_costs_time_and_nothing_else(aged: SmallStudy, content: bytes) -> None:
    before = opened(aged)
    digest_cache(aged.folder).write_bytes(content)
    assert opened(aged).fingerprint == before.fingerprint
    assert len(json.loads(digest_cache(aged.folder).read_text())["slides"]) == 16


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, small_study: Callable) -> None:
    (tmp_path / "file").write_text("no folder")
    path = small_study("acc").features("ACC", ONE)
    taken = slide_digests([path], tmp_path / "file" / "cache.json")
    assert taken == slide_digests([path], None)
    assert len(taken[str(path)]) == 32


def test_a_study_that_cannot_be_written_keeps_its_digests_with_the_user(
    aged: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests_module.os, "access", lambda *_: False)
    cache = digest_cache(aged.folder)
    assert cache.is_relative_to(tmp_path / "home" / "cropkt")
    opened(aged)
    assert cache.is_file()


def test_writers_at_once_leave_a_cache_that_is_right(aged: SmallStudy) -> None:
    cache = digest_cache(aged.folder)
    truth = slide_digests(aged.folder.rglob("*.h5"), None)
    cache.unlink()
    paths = sorted(truth)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda start: slide_digests(paths[start::8], cache), range(8)))
    entries = json.loads(cache.read_text())["slides"]
    assert entries
    for path, entry in entries.items():
        assert entry[4] == truth[os.path.normpath(cache.parent / path)]


def test_progress_ends_at_the_whole(aged: SmallStudy) -> None:
    digest_cache(aged.folder).unlink()
    told: list[tuple[int, int]] = []
    open_study(aged.folder, report=lambda done, total: told.append((done, total)))
    size = sum(path.stat().st_size for path in aged.folder.rglob("*.h5"))
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_cannot_be_read_has_no_digest_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    paths = [tmp_path / name for name in ("pipe.h5", "folder.h5", "nothing.h5")]
    assert set(slide_digests(paths, None).values()) == {None}


def test_a_bad_header_is_never_kept(aged: SmallStudy) -> None:
    path = aged.features("ACC", ONE)
    path.write_bytes(b"not HDF5")
    open_study(aged.folder)
    known = known_headers(aged.folder.rglob("*.h5"), digest_cache(aged.folder))
    assert str(path) not in known
    assert len(known) == 15


def test_the_digest_of_a_zarr_folder_follows_every_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "YOUNG", 0)
    path, cache = tmp_path / "slide.zarr", tmp_path / "cache.json"
    values = np.random.default_rng(0).normal(size=(6, 4))
    zarr.open_group(path, mode="w").create_array("features", data=values, chunks=(2, 4))
    first = slide_digests([path], cache)[str(path)]
    assert slide_digests([path], cache)[str(path)] == first
    assert known_headers([path], cache) == {str(path): (6, 4)}
    values[5, 3] += 1
    zarr.open_group(path, mode="a")["features"][:] = values
    assert slide_digests([path], cache)[str(path)] != first
    shutil.copytree(path, tmp_path / "copy.zarr")
    assert len(set(slide_digests([path, tmp_path / "copy.zarr"], cache).values())) == 1


def test_an_identity_is_written_without_ids_and_read_back(aged: SmallStudy, tmp_path: Path) -> None:
    identity = opened(aged).identity
    write_json(tmp_path / "identity.json", identity.as_json())
    text = (tmp_path / "identity.json").read_text()
    assert "TCGA" not in text
    assert CohortIdentity.from_json(json.loads(text)) == identity
    assert CohortIdentity.from_json(json.loads(text)).fingerprint == opened(aged).fingerprint
    for damaged in (
        None,
        [],
        {},
        {"version": 1},
        {**identity.as_json(), "version": 0},
        {**identity.as_json(), "slides": 3},
    ):
        assert CohortIdentity.from_json(damaged) is None


def test_several_differences_are_told_together(aged: SmallStudy) -> None:
    before = opened(aged).identity
    slides = dict(before.slides)
    slides.pop(next(iter(slides)))
    after = replace(before, slides={**slides, "new": "x", "newer": "y"}, labels={}, folds=before.folds[:2])
    assert before.differences(after) == [
        "2 slides added",
        "1 slide removed",
        "12 labels removed",
        "3 folds are now 2",
    ]
