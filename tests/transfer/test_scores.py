"""Scores of a target are made once, whoever asks; what is done stays done, and what kills is not begun for ever."""

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_studies import DIM, SmallStudy, small_plan

from cropkt.data.bags import read_bags
from cropkt.data.slide_files import features
from cropkt.data.slide_files.slide_faults import fault_of
from cropkt.data.study import Cohort, open_study
from cropkt.errors import CheckpointError, StudyError
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith
from cropkt.models.predict import predict
from cropkt.transfer.scores import (
    DeadlyPartError,
    ScoreJob,
    forget_attempts,
    read_scores,
    score_target,
    scores_folder,
)
from cropkt.transfer.store import ResultsFolder


@pytest.fixture
def job(small_study: Callable[..., SmallStudy], tmp_path: Path) -> ScoreJob:
    """A target of 64 patients in four parts; two sources are wanted."""
    study = small_study("acc", patients=64)
    return ScoreJob(tmp_path / "scores", cohort_of(study), small_plan(tmp_path), {"one": "f1", "other": "f2"})


def cohort_of(study: SmallStudy) -> Cohort:
    return open_study(study.folder).cohorts["acc"]


def made(name: str) -> list[MILModel]:
    networks = [build_null_model(Architecture(DIM, embedding=8, attention=5), len(name) + n).eval() for n in range(2)]
    for network in networks:
        network.trained_with = TrainedWith("discrete_nll", "float32")
    return networks


MADE = {name: made(name) for name in ("one", "other")}


def models(name: str) -> list[MILModel]:
    if name == "missing":
        raise CheckpointError("no model here")
    return MADE[name]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each slide's file is read."""
    counts: Counter[str] = Counter()
    original = features.read_features_into

    def counted(path: str, part: Any) -> None:
        counts[path] += 1
        original(path, part)

    monkeypatch.setattr("cropkt.data.bags.read_features_into", counted)
    return counts


def test_several_workers_share_a_target_and_read_each_slide_once(job: ScoreJob, read: Counter[str]) -> None:
    assert len(job.parts()) == 4
    workers = [threading.Thread(target=score_target, args=(job, models)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    bags = score_target(job, models)
    assert read == dict.fromkeys(job.cohort.slides["path"], 1)
    resident = read_bags(job.cohort)
    assert bags.patients == resident.patients
    np.testing.assert_allclose(bags.means().numpy(), resident.means().numpy(), rtol=1e-6)
    for name in job.wanted:
        found, expected = read_scores(job, name), predict(models(name), resident)
        assert found is not None
        for kind in ("risk", "hazard", "representation"):
            np.testing.assert_allclose(getattr(found, kind), getattr(expected, kind), atol=1e-5, rtol=1e-6)


def test_parts_that_are_done_are_kept_and_others_made(job: ScoreJob, read: Counter[str]) -> None:
    score_target(job, models)
    job.path(2).write_bytes(b"damaged")
    read.clear()
    score_target(replace(job, wanted={"one": "f1"}), models)  # fewer are wanted: the rest is done
    assert set(read) == {path for _, _, path, _ in job.parts()[2]}
    read.clear()
    score_target(replace(job, wanted={"one": "f3"}), models)  # its models have changed
    assert set(read) == set(job.cohort.slides["path"])


def test_a_source_without_models_is_left_out_and_stops_no_other(job: ScoreJob) -> None:
    job = replace(job, wanted={"missing": "f", **job.wanted})
    score_target(job, models)
    assert read_scores(job, "missing") is None
    assert read_scores(job, "one") is not None


def test_a_part_without_a_good_slide_is_empty_and_a_target_without_one_is_an_error(job: ScoreJob) -> None:
    for _, _, path, _ in job.parts()[1]:
        with h5py.File(path, "a") as file:
            file["features"][...] = np.nan
    bags = score_target(job, models)
    lost = {patient for patient, *_ in job.parts()[1]}
    assert set(job.cohort.labels.index) - set(bags.patients) == lost
    assert {slide.patient for slide in bags.skipped} == lost
    found = read_scores(job, "one")
    assert found is not None
    assert found.risk.shape == (2, len(bags))
    for _, _, path, _ in (row for part in job.parts() for row in part):
        Path(path).unlink()
    with pytest.raises(StudyError, match="none of its 86 slides"):
        score_target(replace(job, folder=job.folder / "again"), models)


def test_scores_that_lack_a_slide_for_a_passing_fault_are_forgotten_and_others_kept(
    job: ScoreJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ResultsFolder(tmp_path / "out", "uni2-h", "abmil")
    job = replace(job, folder=scores_folder(results) / "acc")
    bad = str(job.cohort.slides["path"].iloc[0])
    original = features.read_features_into

    def fails(path: str, part: Any) -> None:
        if path == bad:
            raise fault_of(OSError(errno.EIO, os.strerror(errno.EIO)))
        original(path, part)

    with monkeypatch.context() as patch:
        patch.setattr("cropkt.data.bags.read_features_into", fails)
        score_target(job, models)
    paths = [job.path(number) for number in range(4)]
    assert all(path.exists() for path in paths)
    forget_attempts(results)
    assert [path.exists() for path in paths] == [False, True, True, True]
    assert len(score_target(job, models)) == 64


def test_slides_that_kill_are_begun_twice(job: ScoreJob) -> None:
    """A process that dies leaves its count behind; so does one that is killed here, by an error nothing catches."""
    begun = job.path(0).with_suffix(".begun")
    job.folder.mkdir(parents=True)
    begun.write_bytes(b".")
    score_target(job, models)  # once is an accident
    assert not begun.exists()
    job.path(0).unlink()
    begun.write_bytes(b"..")
    with pytest.raises(DeadlyPartError, match=r"acc: 2 worker processes died over part 0"):
        score_target(job, models)
