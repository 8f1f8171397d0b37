"""A cohort five times larger than --memory trains and is swept in it, measured from outside; memory that runs out."""

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import Script, descendants, kill_worker
from small_studies import DIM, write_study

from cropkt.experiments.command import SOME_FAILED

PROCESSES = Path("/proc")
WIDTH, PATCHES = 1536, 400
PATIENTS = 12
"""Of the cohort that just fits: 16 slides, 39 MB in float32."""
MEMORY = 40_000_000
STAGES = {"open": (), "train": ("RayTrainWorker",), "sweep": ("PairTrial", "ResourceTrainable")}
"""What Ray calls the workers of a stage. A study is opened by the script itself."""
WORKING = ("train", "sweep")


@dataclass
class Use:
    """What a process used, as the operating system counts: the most bytes it held, processor seconds, bytes it read."""

    held: int = 0
    seconds: float = 0.0
    read: int = 0


@dataclass(frozen=True)
class Measured:
    """A sweep that trained its source: what each stage used, the bytes of the feature files, and the C-indices."""

    use: dict[str, Use]
    files: int
    c_index: pd.Series


def measure(folder: Path, patients: int, memory: int | None) -> Measured:
    """Train and sweep a cohort of `patients` patients, and look at its processes from outside."""
    study = write_study(folder / "study", "acc", patients=patients)
    encoder = study.settings()["encoders"]["uni2-h"]
    study.set(encoders={"uni2-h": encoder | {"dim": WIDTH}})
    files = sorted((study.folder / "features" / "TCGA-ACC").glob("*.h5"))
    for number, path in enumerate(files):
        values = np.random.default_rng(number).standard_normal((PATCHES, WIDTH), dtype=np.float32)
        study.write_slide("ACC", path.stem, values)
    out = folder / "out"
    flags = ["--epochs", 2, "--bags-per-update", 4, "--workers", 1, "--precision", "float32", "--device", "cpu"]
    flags += ["--no-tracking"] + (["--memory", memory] if memory else [])
    use = watched(Script("sweep_transfer.py", "--study", study.folder, "--out", out, *flags))
    pairs = pd.read_parquet(out / "pairs.parquet").set_index("source")
    assert pairs.loc["acc", "status"] == "ok"
    assert not (out / "scores").exists()
    return Measured(use, sum(path.stat().st_size for path in files), pairs["c_index_pooled"])


def watched(script: Script) -> dict[str, Use]:
    """What each stage used until the script ended; a stage has one process at a time."""
    found: dict[tuple[str, int], Use] = defaultdict(Use)

    def watch() -> None:
        while script.process.poll() is None:
            look_at(script.process.pid, found["open", script.process.pid])
            for pid, title in descendants(script.process.pid).items():
                for stage in (stage for stage, names in STAGES.items() if any(name in title for name in names)):
                    look_at(pid, found[stage, pid])
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    ended = script.end()
    watching.join()
    assert ended.code == 0, ended
    return {
        stage: max((use for (of, _), use in found.items() if of == stage), key=lambda u: u.held) for stage in STAGES
    }


def look_at(pid: int, use: Use) -> None:
    """Update what the process `pid` has used so far; nothing when it is gone."""
    try:
        status = (PROCESSES / str(pid) / "status").read_text().splitlines()
        times = (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:13]
        read = (PROCESSES / str(pid) / "io").read_text().splitlines()[0]
    except (OSError, IndexError):
        return
    use.held = max(int(line.split()[1]) * 1024 for line in ["VmHWM: 0 kB", *status] if line.startswith("VmHWM"))
    use.seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    use.read = int(read.removeprefix("rchar:"))


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
    """The same, with all the memory of the machine."""
    return measure(tmp_path_factory.mktemp("resident"), 5 * PATIENTS, None)


@pytest.mark.parametrize("stage", WORKING)
def test_five_times_the_memory_takes_a_tenth_of_it_more(stage: str, fitting: Measured, streamed: Measured) -> None:
    grown = streamed.use[stage].held - fitting.use[stage].held
    print(f"{stage}: {fitting.use[stage].held / 1e6:.0f} MB, {grown / 1e6:+.1f} MB for five times the cohort")
    assert grown < 0.1 * MEMORY


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_reads_every_byte_once(stage: str, fitting: Measured, streamed: Measured) -> None:
    """Of two cohorts, so that what a process reads to start does not count."""
    read = streamed.use[stage].read - fitting.use[stage].read
    times = read / (streamed.files - fitting.files)
    print(f"{stage}: {times:.2f} reads of each byte")
    assert times == pytest.approx(1, abs=0.1)


def test_without_the_limit_memory_is_taken(fitting: Measured, resident: Measured) -> None:
    """So that what is measured above is the limit at work."""
    assert resident.use["train"].held - fitting.use["train"].held > 3 * MEMORY


def test_what_is_found_is_the_same_at_three_fifths_of_the_rate(
    fitting: Measured, streamed: Measured, resident: Measured
) -> None:
    pd.testing.assert_series_equal(streamed.c_index, resident.c_index, check_exact=True)
    for stage in WORKING:
        slow, fast = (run.use[stage].seconds - fitting.use[stage].seconds for run in (streamed, resident))
        print(f"{stage}: {fast:.1f} s of a processor held, {slow:.1f} s streamed, for four fifths of the cohort")
        assert slow < fast / 0.6


def test_slides_that_kill_whoever_reads_them_are_begun_twice_and_stop_no_other_target(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "acc", "uvm")
    long = np.random.default_rng(0).standard_normal((100_000, DIM), dtype=np.float32)  # long enough to be killed over
    study.write_slide("ACC", "TCGA-AC-0000-01Z-00-DX1", long)
    out = tmp_path / "out"
    flags = ["--sources", "uvm", "--epochs", 1, "--workers", 1, "--no-baselines", "--no-tracking"]
    script = Script("sweep_transfer.py", "--study", study.folder, "--out", out, *flags)
    deaths = 0
    while script.process.poll() is None:
        begun = sum(path.stat().st_size for path in (out / "scores").glob("*/*/acc/part_0.begun"))
        if begun > deaths:
            kill_worker(STAGES["sweep"], script.process.pid)
            deaths += 1
        time.sleep(0.005)
    ended = script.end()
    assert ended.code == SOME_FAILED, ended
    assert deaths == 2
    reasons = pd.read_parquet(out / "pairs.parquet").set_index("target")["reason"]
    assert "2 worker processes died over part 0" in reasons["acc"]
    assert reasons["uvm"] == ""
