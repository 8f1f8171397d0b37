"""A cohort five times larger than --memory trains and is swept in it: memory is measured from outside."""

import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import Script, descendants
from small_studies import write_study

WIDTH, PATCHES = 1536, 400
PATIENTS = 12
"""Of the cohort that just fits: 16 slides, 39 MB in float32."""
MEMORY = 40_000_000
WORKERS = {"train": "RayTrainWorker", "sweep": "PairTrial"}


@dataclass(frozen=True)
class Measured:
    """A sweep that trained its source: bytes by stage that a worker held at most, processor seconds, C-indices."""

    peak: dict[str, int]
    seconds: dict[str, float]
    c_index: pd.Series


def measure(folder: Path, patients: int, memory: int | None) -> Measured:
    """Train and sweep a cohort of `patients` patients, and look at its workers from outside."""
    study = write_study(folder / "study", "acc", patients=patients)
    encoder = study.settings()["encoders"]["uni2-h"]
    study.set(encoders={"uni2-h": encoder | {"dim": WIDTH}})
    for number, path in enumerate(sorted((study.folder / "features" / "TCGA-ACC").glob("*.h5"))):
        values = np.random.default_rng(number).standard_normal((PATCHES, WIDTH), dtype=np.float32)
        study.write_slide("ACC", path.stem, values)
    out = folder / "out"
    flags = ["--epochs", 2, "--bags-per-update", 4, "--workers", 1, "--precision", "float32", "--device", "cpu"]
    flags += ["--no-tracking"] + (["--memory", memory] if memory else [])
    script = Script("sweep_transfer.py", "--study", study.folder, "--out", out, *flags)
    peak, seconds = watched(script)
    pairs = pd.read_parquet(out / "pairs.parquet").set_index("source")
    assert pairs.loc["acc", "status"] == "ok"
    assert not (out / "scores").exists()
    return Measured(peak, seconds, pairs["c_index_pooled"])


def watched(script: Script) -> tuple[dict[str, int], dict[str, float]]:
    """By stage, until the script ends: the most memory that its worker held, and its processor time."""
    peak: dict[str, int] = defaultdict(int)
    seconds: dict[tuple[str, int], float] = {}

    def watch() -> None:
        while script.process.poll() is None:
            for pid, title in descendants(script.process.pid).items():
                for stage in (stage for stage, worker in WORKERS.items() if worker in title):
                    held, used = look_at(pid)
                    peak[stage] = max(peak[stage], held)
                    seconds[stage, pid] = max(seconds.get((stage, pid), 0.0), used)
            time.sleep(0.02)

    watching = threading.Thread(target=watch)
    watching.start()
    ended = script.end()
    watching.join()
    assert ended.code == 0, ended
    return dict(peak), {stage: sum(s for (of, _), s in seconds.items() if of == stage) for stage in WORKERS}


def look_at(pid: int) -> tuple[int, float]:
    """Bytes that a process holds, mapped files included but not what processes share, and its processor seconds."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (OSError, IndexError):
        return 0, 0.0
    held = sum(int(line.split()[1]) * 1024 for line in status if line.startswith(("RssAnon", "RssFile")))
    return held, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


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


@pytest.mark.parametrize("stage", WORKERS)
def test_five_times_the_memory_takes_a_tenth_of_it_more(stage: str, fitting: Measured, streamed: Measured) -> None:
    grown = streamed.peak[stage] - fitting.peak[stage]
    print(f"{stage}: {fitting.peak[stage] / 1e6:.0f} MB, {grown / 1e6:+.1f} MB for five times the cohort")
    assert grown < 0.1 * MEMORY


def test_without_the_limit_memory_is_taken(fitting: Measured, resident: Measured) -> None:
    """So that what is measured above is the limit at work."""
    assert resident.peak["train"] - fitting.peak["train"] > 3 * MEMORY


def test_what_is_found_is_the_same_at_three_fifths_of_the_rate(streamed: Measured, resident: Measured) -> None:
    pd.testing.assert_series_equal(streamed.c_index, resident.c_index, check_exact=True)
    for stage in WORKERS:
        print(f"{stage}: {resident.seconds[stage]:.1f} s of a processor held, {streamed.seconds[stage]:.1f} s streamed")
        assert streamed.seconds[stage] < resident.seconds[stage] / 0.6
