"""Files that are whole or not there, fingerprints that see every change, and randomness by name."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cropkt.data.slide_files.features import write_h5
from cropkt.files import atomic_path, digest, sweep_temporaries, write_json
from cropkt.seeds import generator, named_seed, torch_generator


def test_a_file_appears_whole_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "table.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert not temporary.match("*.csv")
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def leave_half(path: Path) -> Path:
    """What a writer that is killed leaves behind: the temporary file it was writing."""
    program = (
        "import os, sys; from pathlib import Path; from cropkt.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print(temporary); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    return Path(done.stdout.strip())


def test_what_a_killed_writer_leaves_matches_no_pattern_of_results_and_is_swept(tmp_path: Path) -> None:
    left = [leave_half(tmp_path / "pairs" / name) for name in ("acc.json", "fold_0.safetensors", "a.b.parquet")]
    assert all(path.is_file() for path in left)
    for pattern in ("*.json", "*.safetensors", "*.parquet", "*.csv", "*.png"):
        assert list((tmp_path / "pairs").glob(pattern)) == []
    kept = [tmp_path / "pairs" / "whole.json", tmp_path / "notes.tmp-none"]
    for path in kept:
        path.write_text("{}")
    assert sweep_temporaries(tmp_path) == [], "a writer may be at work"
    os.utime(left[0], (time.time() - 7200, time.time() - 7200))
    assert sweep_temporaries(tmp_path) == [left[0]]
    assert sweep_temporaries(tmp_path, older_than=0) == sorted(left[1:])
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_every_file_has_the_mode_the_umask_gives(tmp_path: Path, mask: int) -> None:
    """safetensors makes its files readable by their owner alone."""
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"x": torch.zeros(2)}, temporary)
        write_h5(tmp_path / "a.h5", np.ones((1, 2), np.float32), np.zeros((1, 2)))
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("a.json", "a.safetensors", "a.h5"), 0o666 & ~mask
    )


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves a whole name on an empty file. Then its folder, or the name itself may be lost."""
    steps = []
    fsync, replace = os.fsync, os.replace

    def flushed(handle: int) -> None:
        steps.append(("flushed", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def renamed(old: Path, new: Path) -> None:
        steps.append(("renamed", Path(old).name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    assert steps == [("flushed", temporary.name), ("renamed", temporary.name), ("flushed", tmp_path.name)]


def test_json_has_null_where_a_number_is_undefined(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"c": float("nan"), "list": [1.5, (float("nan"), "text")], "deep": {"n": None}})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "c": None,
        "list": [1.5, [None, "text"]],
        "deep": {"n": None},
    }
    with pytest.raises(ValueError):
        write_json(tmp_path / "b.json", {"c": float("inf")})
    assert not (tmp_path / "b.json").exists()


def test_a_digest_sees_every_change_but_not_the_order_of_keys() -> None:
    first = digest("a", 1, {"x": 1, "y": [1, 2]})
    assert first == digest("a", 1, {"y": [1, 2], "x": 1})
    others = [
        digest("a", 2, {"x": 1, "y": [1, 2]}),
        digest("a", 1, {"x": 1, "y": [2, 1]}),
        digest("a", "1", {"x": 1, "y": [1, 2]}),
        digest(["a", 1], {"x": 1, "y": [1, 2]}),
    ]
    assert len({first, *others}) == 5


def test_streams_are_named_and_the_same_in_every_process() -> None:
    """Python's own hash is not: it changes with every process."""
    code = "from cropkt.seeds import named_seed; print(named_seed(7, 'train', 'acc', 2))"
    root = Path(__file__).resolve().parent.parent
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert int(elsewhere.stdout) == named_seed(7, "train", "acc", 2)


def test_names_seeds_and_their_kinds_make_different_streams() -> None:
    streams = [
        named_seed(7, "a"),
        named_seed(8, "a"),
        named_seed(7, "b"),
        named_seed(7, "a", 1),
        named_seed(7, "a", "1"),
        named_seed(7, "a", 1, 1),
        named_seed(7, "a", 11),
    ]
    assert len(set(streams)) == len(streams)
    assert all(0 <= stream < 2**63 for stream in streams)


def test_drawing_leaves_the_global_state_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    draws = [torch.rand(3, generator=torch_generator(7, "x")) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(generator(7, "x").random(3), generator(7, "x").random(3))
    assert not np.array_equal(generator(7, "x").random(3), generator(7, "y").random(3))
