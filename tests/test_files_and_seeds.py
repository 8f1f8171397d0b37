"""Files that are whole or not there, fingerprints that see every change, and randomness by name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cropkt.files import atomic_path, digest, write_json
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
