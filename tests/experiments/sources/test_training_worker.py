"""How cohorts are put into rounds, and what a cohort that cannot be trained leaves behind."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_studies import SmallStudy, small_plan

from cropkt.data.study import open_study
from cropkt.experiments.sources.worker import (
    ATTEMPTS,
    CohortJob,
    attempts_path,
    failure_path,
    rounds,
    train_job,
)
from cropkt.training.sources import missing_folds, store_null_model

Write = Callable[..., SmallStudy]


def test_rounds_are_of_jobs_equally_long_and_hold_each_job_once(small_study: Write) -> None:
    cohorts = open_study(small_study("acc", "uvm", "kipan", "brca", "lung").folder).cohorts
    # One, two or three folds of equally large cohorts.
    jobs = [CohortJob(cohort, tuple(range(1 + number % 3))) for number, cohort in enumerate(cohorts.values())]
    for workers in (1, 2, 3, 8):
        schedule = rounds(jobs, workers)
        assert sorted(id(job) for jobs in schedule for job in jobs) == sorted(map(id, jobs))
        assert all(len(jobs) == workers for jobs in schedule[:-1])
        assert 1 <= len(schedule[-1]) <= workers
        sizes = [job.size for jobs in schedule for job in jobs]
        assert sizes == sorted(sizes, reverse=True)
        waiting = sum(jobs[0].size - job.size for jobs in schedule[:-1] for job in jobs[-1:])
        assert waiting <= max(sizes)


def test_a_job_trains_what_is_missing_and_leaves_no_mark(small_study: Write, tmp_path: Path) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    plan = small_plan(tmp_path / "models", epochs=1)
    store_null_model(plan)
    job = CohortJob(cohort, (0, 2))
    losses = train_job(plan, job, {})
    assert set(losses) == {0, 2}
    assert all(np.isfinite(list(losses.values())))
    assert missing_folds(plan, cohort, [0, 1, 2]) == [1]
    assert not attempts_path(plan, job).exists()
    assert not failure_path(plan, job).exists()


def test_a_cohort_that_cannot_be_trained_says_why_and_stops_nobody(small_study: Write, tmp_path: Path) -> None:
    study = small_study("acc")
    cohort = open_study(study.folder).cohorts["acc"]
    for path in cohort.slides["path"]:
        with h5py.File(path, "r+") as file:
            file["features"][...] = np.nan
    plan = small_plan(tmp_path / "models", epochs=1)
    store_null_model(plan)
    job = CohortJob(cohort, (0,))
    assert train_job(plan, job, {}) == {}
    reason = json.loads(failure_path(plan, job).read_text())["reason"]
    assert "none of its 16 slides can be used" in reason
    assert "NaN or infinite features" in reason  # the warning that names a slide comes along
    assert not attempts_path(plan, job).exists()


def test_a_cohort_that_keeps_killing_its_worker_is_given_up(small_study: Write, tmp_path: Path) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    plan = small_plan(tmp_path / "models", epochs=1)
    store_null_model(plan)
    job = CohortJob(cohort, (0,))
    attempts_path(plan, job).parent.mkdir(parents=True)
    attempts_path(plan, job).write_text(json.dumps({"begun": ATTEMPTS}))
    assert train_job(plan, job, {}) == {}
    assert "its worker died 3 times" in json.loads(failure_path(plan, job).read_text())["reason"]
    attempts_path(plan, job).write_text(json.dumps({"begun": ATTEMPTS - 1}))
    assert set(train_job(plan, job, {})) == {0}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_schedule_is_the_same_in_whatever_order_cohorts_come(small_study: Write, workers: int) -> None:
    cohorts = open_study(small_study("acc", "uvm", "kipan").folder).cohorts
    jobs = [CohortJob(cohort, (0, 1)) for cohort in cohorts.values()]
    assert rounds(jobs, workers) == rounds(jobs[::-1], workers)
