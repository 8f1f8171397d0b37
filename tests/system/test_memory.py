"""A target several times larger than --memory is swept without being held: memory is measured from outside."""

import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from processes import Script, descendants
from small_studies import DIM, SmallStudy, write_study

PATCHES = 60_000
MEMORY = "10MB"


def peak_of_workers(script: Script) -> int:
    """The most memory of its own (bytes) that any process below `script` has had by the end."""
    peak = 0

    def watch() -> None:
        nonlocal peak
        while script.process.poll() is None:
            for pid, title in descendants(script.process.pid).items():
                if "PairTrial" in title:
                    peak = max(peak, _own_memory(pid))
            time.sleep(0.01)

    watching = threading.Thread(target=watch)
    watching.start()
    ended = script.end()
    watching.join()
    assert ended.code == 0, ended
    return peak


def _own_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssFile")))


def sweep(study: SmallStudy, out: Path) -> int:
    flags = ["--sources", "uvm", "--targets", "acc", "--epochs", 1, "--workers", 1, "--memory", MEMORY]
    flags += ["--no-tracking", "--device", "cpu"]
    return peak_of_workers(
        Script("sweep_transfer.py", "--study", study.folder, "--out", out, "--device", "cpu", *flags)
    )


def test_a_target_of_many_times_the_memory_takes_as_much_as_a_small_one(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", "acc", "uvm")
    small = sweep(study, tmp_path / "small")
    random = np.random.default_rng(0)
    paths = sorted((study.folder / "features" / "TCGA-ACC").glob("*.h5"))
    for path in paths:
        with h5py.File(path, "w") as file:
            file["features"] = random.normal(size=(PATCHES, DIM)).astype(np.float32)
            file["coords"] = np.zeros((PATCHES, 2), np.int32)
    size = len(paths) * PATCHES * DIM * 2  # in bfloat16, where the machine multiplies it
    assert size > 20e6
    large = sweep(study, tmp_path / "large")
    assert large - small < size / 2, (small, large, size)
    pairs = pd.read_parquet(tmp_path / "large" / "pairs.parquet")
    assert (pairs["status"] == "ok").all()
    assert not (tmp_path / "large" / "scores").exists()
