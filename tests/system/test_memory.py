"""A cohort five times larger than --memory is trained, swept and explained; processes are measured from outside."""

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import Script, kill_worker
from small_studies import DIM, small_plan, write_study

from cropkt.borrowing.means import measure_means
from cropkt.data.slide_files.digests import YOUNG
from cropkt.data.study import Cohort, open_study
from cropkt.experiments.command import SOME_FAILED
from cropkt.factors.facts.sample import sample_cohort
from cropkt.models.mil import Architecture
from cropkt.training.sources import SourcePlan, load_source_models, store_null_model, train_cohort
from cropkt.transfer.scores import ScoreJob, read_scores, score_target

WIDTH, PATCHES, FOLDS = 1536, 800, range(3)
"""Patches are a patient's, so that all updates of the training are of the same size, and a tile of test patients is
nearly full in both cohorts."""
PATIENTS = 12
"""Of the cohort that just fits: 59 MB in float32."""
MEMORY = 60_000_000
SPARE = {"open": 0.1, "train": 0.1, "sweep": 0.6, "explain": 0.1}
"""What five times the cohort may take more, of MEMORY. A sweep reads tiles, three of a sixth each, where a cohort fits
too, so that a tenth beyond the budget is .6 more."""
M_MMAP_THRESHOLD = -3
"""malloc.h: allocations of more bytes are mappings of their own."""
WORKERS = ("ray::PairTrial", "ray::ResourceTrainable")
"""What Ray calls a worker of the sweep between trials and at work on one."""


@dataclass(frozen=True)
class Use:
    """What a process used beyond its start, as the operating system counts: the most bytes that it held, bytes that it
    read, processor seconds."""

    held: int
    read: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What each stage used on a cohort; the bytes of its files, its models, and what these say of its patients."""

    use: dict[str, Use]
    files: int
    models: bytes
    risk: np.ndarray


def opened(folder: Path, _: SourcePlan) -> Cohort:
    return open_study(folder).cohorts["acc"]


def trained(folder: Path, plan: SourcePlan) -> None:
    train_cohort(plan, opened(folder, plan), FOLDS)


def swept(folder: Path, plan: SourcePlan) -> None:
    cohort = opened(folder, plan)
    models = load_source_models(plan, "acc", FOLDS).models
    job = ScoreJob(folder / "scores", cohort, plan, {"acc": "today"})
    score_target(job, lambda _: models)
    found = read_scores(job, "acc")
    assert found is not None
    np.save(folder / "risk.npy", found.risk)


def explained(folder: Path, plan: SourcePlan) -> None:
    """What the factors read of a cohort: its patients' means, and a sample of patches."""
    sample_cohort(opened(folder, plan), n_patches=500, seed=0)


STAGES: dict[str, Callable[[Path, SourcePlan], Any]] = {
    "open": opened,
    "train": trained,
    "sweep": swept,
    "explain": explained,
}
"""In the order of a run. Opening reads the slides for their digests, once, so that the others do not."""


def measure(folder: Path, patients: int, memory: int | None) -> Measured:
    """All stages on a cohort of `patients` patients, each in a process that is looked at before it ends."""
    study = write_study(folder / "study", "acc", patients=patients)
    study.set(encoders={"uni2-h": study.settings()["encoders"]["uni2-h"] | {"dim": WIDTH}})
    slides = [slide for _, slide, *_ in study.rows("acc")[1:]]
    for number, slide in enumerate(slides):
        patches = PATCHES // sum(other[:12] == slide[:12] for other in slides)
        values = np.random.default_rng(number).standard_normal((patches, WIDTH), dtype=np.float32)
        study.write_slide("ACC", slide, values)
    time.sleep(YOUNG / 1e9)  # a younger file's digest is not trusted the next time
    plan = replace(small_plan(folder / "models", epochs=1, bags_per_update=4), memory=memory)
    plan = replace(plan, architecture=Architecture(features=WIDTH))
    store_null_model(plan)
    use = {name: used_by(stage, study.folder, plan) for name, stage in STAGES.items()}
    models = b"".join(plan.model_path("acc", fold).read_bytes() for fold in FOLDS)
    files = sum(study.features("ACC", slide).stat().st_size for slide in slides)
    return Measured(use, files, models, np.load(study.folder / "risk.npy"))


def used_by(stage: Callable[[Path, SourcePlan], Any], folder: Path, plan: SourcePlan) -> Use:
    """What a process uses that does `stage`. It is a copy of this one, which has all libraries loaded."""
    context = multiprocessing.get_context("fork")
    done, looked_at = context.Event(), context.Event()
    starts, goes_on = context.Event(), context.Event()

    def work() -> None:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)  # what is freed is given back, so that a peak is of use
        starts.set()
        goes_on.wait()
        stage(folder, plan)
        done.set()
        looked_at.wait()

    process = context.Process(target=work)
    process.start()
    assert process.pid is not None
    starts.wait()
    before = counted(process.pid)
    goes_on.set()
    while not done.wait(1):
        assert process.is_alive(), "the process died"
    after = counted(process.pid)
    looked_at.set()
    process.join()
    return Use(after.held - before.held, after.read - before.read, after.seconds - before.seconds)


def counted(pid: int) -> Use:
    """What the kernel says of a process so far; `held` with what it holds of files that are mapped."""
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    read = dict(line.split(":") for line in (process / "io").read_text().splitlines())["rchar"]
    times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    ticks = sum(map(int, times))
    return Use(int(status["VmHWM"].split()[0]) * 1024, int(read), ticks / os.sysconf("SC_CLK_TCK"))


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A cohort that just fits."""
    return measure(tmp_path_factory.mktemp("fitting"), PATIENTS, MEMORY)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A cohort five times larger."""
    return measure(tmp_path_factory.mktemp("streamed"), 5 * PATIENTS, MEMORY)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The same, without a limit."""
    return measure(tmp_path_factory.mktemp("resident"), 5 * PATIENTS, None)


@pytest.mark.parametrize("stage", STAGES)
def test_five_times_the_memory_exceeds_it_by_a_tenth_at_most(stage: str, fitting: Measured, streamed: Measured) -> None:
    held, grown = fitting.use[stage].held, streamed.use[stage].held - fitting.use[stage].held
    print(f"{stage}: {held / 1e6:.0f} MB, {grown / 1e6:+.1f} MB for five times the cohort")
    assert grown < SPARE[stage] * MEMORY


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_reads_every_byte_once(stage: str, fitting: Measured, streamed: Measured) -> None:
    """By the difference of two cohorts, so that libraries that a process loads do not count."""
    times = (streamed.use[stage].read - fitting.use[stage].read) / (streamed.files - fitting.files)
    print(f"{stage}: {times:.3f} reads of each byte")
    assert times == pytest.approx(1, abs=0.1)


def test_without_the_limit_memory_is_taken(fitting: Measured, resident: Measured) -> None:
    """So that what is measured above is the limit at work."""
    assert resident.use["train"].held - fitting.use["train"].held > 3 * MEMORY


def test_what_is_found_is_the_same_at_three_fifths_of_the_rate(streamed: Measured, resident: Measured) -> None:
    assert streamed.models == resident.models
    np.testing.assert_allclose(streamed.risk, resident.risk, atol=1e-5)  # tiles of other sizes round otherwise
    for stage in ("train", "sweep"):
        slow, fast = streamed.use[stage].seconds, resident.use[stage].seconds
        print(f"{stage}: {fast:.1f} s of a processor without a limit, {slow:.1f} s with it")
        assert slow < fast / 0.6


def test_means_hold_no_more_of_a_slide_with_twenty_times_the_patches(tmp_path: Path) -> None:
    """Borrowing needs patients' means only: 8 MB of patches, then 154, in each of a patient's slides."""
    held = {}
    for patches in (5_000, 100_000):
        study = write_study(tmp_path / str(patches), "acc", patients=4)
        study.set(encoders={"uni2-h": study.settings()["encoders"]["uni2-h"] | {"dim": 384}})
        for number, (_, slide, *_) in enumerate(study.rows("acc")[1:]):
            values = np.random.default_rng(number).standard_normal((patches, 384), dtype=np.float32)
            study.write_slide("ACC", slide, values)
        time.sleep(YOUNG / 1e9)
        opened(study.folder, small_plan(tmp_path))  # the digests are known from here on
        use = used_by(lambda folder, plan: measure_means(opened(folder, plan)), study.folder, small_plan(tmp_path))
        held[patches] = use.held
    print(f"means: {held[5_000] / 1e6:.0f} MB, {(held[100_000] - held[5_000]) / 1e6:+.1f} MB for 20 times the patches")
    assert held[100_000] - held[5_000] < 30_000_000


def test_slides_that_kill_whoever_reads_them_are_begun_twice_and_stop_no_other_target(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "acc", "uvm")
    long = np.random.default_rng(0).standard_normal((100_000, DIM), dtype=np.float32)  # long enough to be killed over
    study.write_slide("ACC", "TCGA-AC-0000-01Z-00-DX1", long)
    out = tmp_path / "out"
    flags = ["--sources", "uvm", "--epochs", 1, "--workers", 1, "--no-baselines", "--no-tracking"]
    script = Script("sweep_transfer.py", "--study", study.folder, "--out", out, *flags)
    deaths = 0
    while script.process.poll() is None:
        try:
            begun = (out / "scores" / "uni2-h" / "abmil" / "acc" / "part_0.begun").stat().st_size
        except FileNotFoundError:  # not begun yet, or over and removed
            begun = 0
        if begun > deaths:
            kill_worker(WORKERS, script.process.pid)
            deaths += 1
        time.sleep(0.005)
    ended = script.end()
    assert deaths == 2, ended
    assert ended.code == SOME_FAILED, ended
    reasons = pd.read_parquet(out / "pairs.parquet").set_index("target")["reason"]
    assert "2 worker processes died over part 0" in reasons["acc"]
    assert reasons["uvm"] == ""
