"""Whatever file of a results folder is damaged, the same command ends in the tables of an undisturbed run."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy, write_study
from sweep_here import Said, sweep_here, tables

from cropkt.data import bags
from cropkt.data.slide_files.slide_faults import fault_of

KIND = Path("uni2-h") / "abmil"


def gone(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def a_list(path: Path) -> None:
    path.write_text("[]")


def an_object(path: Path) -> None:
    path.write_text("{}")


def sevens(path: Path) -> None:
    """An object with the right keys, each with a number behind it."""
    path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()), 7)))


def wrapped(path: Path) -> None:
    """Right keys at every depth, and each value in a list of its own."""

    def wrap(value: Any) -> Any:
        return {key: wrap(item) for key, item in value.items()} if isinstance(value, dict) else [value]

    path.write_text(json.dumps(wrap(json.loads(path.read_text()))))


def another(path: Path) -> None:
    """The file of another pair, fold or target: whole, and in the wrong place."""
    others = [other for other in sorted(path.parent.glob(f"*{path.suffix}")) if other != path]
    shutil.copyfile(others[0], path)


Damage = Callable[[Path], None]
RECORD, PREDICTIONS = Path("pairs") / KIND / "uvm" / "acc.json", Path("predictions") / KIND / "uvm" / "acc.parquet"
WEIGHTS, CARD = (Path("models") / KIND / "acc" / f"fold_1.{suffix}" for suffix in ("safetensors", "json"))
BASELINE, OWN = Path("pairs") / KIND / "uvm" / "random.json", Path("predictions") / KIND / "acc" / "mean_cox.parquet"
REPRESENTATIONS = Path("representations") / KIND / "acc" / "uvm.safetensors"
NULL_WEIGHTS, NULL_CARD = (Path("models") / KIND / f"null.{suffix}" for suffix in ("safetensors", "json"))
LOCK = Path("models") / KIND / ".lock"
COMPARISON, CURRENT = Path("comparisons") / KIND / "uvm.json", Path("current") / f"{KIND}.json"
STUDY_CURRENT, CARD_OF_STUDY, CARD_OF_RUN = Path("current") / "uni2-h.json", Path("study.json"), Path("run.json")
PAIRS, CHOICE, STALE = Path("pairs.parquet"), Path("source_choice.parquet"), Path("stale.csv")
ROUNDS: dict[str, dict[Path, Damage]] = {
    "a lost record": {RECORD: gone, REPRESENTATIONS: gone, CARD_OF_RUN: half, LOCK: zeros},
    "an empty record": {RECORD: empty, REPRESENTATIONS: zeros, CARD_OF_RUN: sevens},
    "half a record": {RECORD: half, OWN: empty, PAIRS: half},
    "a list for a record": {RECORD: a_list, BASELINE: half, CHOICE: empty},
    "a record of sevens": {RECORD: sevens, STALE: empty},
    "a wrapped record": {RECORD: wrapped, COMPARISON: half},
    "the record of another pair": {RECORD: another, CURRENT: half},
    "lost predictions": {PREDICTIONS: gone, CURRENT: wrapped},
    "half of the predictions": {PREDICTIONS: half, STUDY_CURRENT: wrapped},
    "zeros for predictions": {PREDICTIONS: zeros, CARD_OF_STUDY: sevens},
    "the predictions of another pair": {PREDICTIONS: another},
    "lost weights": {WEIGHTS: gone},
    "half of the weights": {WEIGHTS: half, COMPARISON: a_list},
    "zeros for weights": {WEIGHTS: zeros},
    "the weights of another fold": {WEIGHTS: another, COMPARISON: wrapped},
    "a lost card": {CARD: gone, NULL_CARD: an_object},
    "half a card": {CARD: half},
    "a wrapped card": {CARD: wrapped},
    "the card of another fold": {CARD: another, NULL_WEIGHTS: zeros},
}
"""Damages of one round are to files of which none is made from another: each has to be mended for itself."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    return write_study(tmp_path_factory.mktemp("damage") / "study", "acc", "uvm")


@pytest.fixture(scope="module")
def out(study: SmallStudy) -> Path:
    """A finished sweep, which every test damages and mends."""
    ended = sweep_here(study.folder, study.folder.parent / "out")
    assert ended.code == 0, ended
    return study.folder.parent / "out"


@pytest.fixture(scope="module")
def undisturbed(out: Path) -> dict[str, str]:
    return tables(out)


@pytest.mark.parametrize("damages", ROUNDS.values(), ids=ROUNDS)
def test_after_any_damage_the_same_command_ends_in_the_same_tables(
    study: SmallStudy, out: Path, undisturbed: dict[str, str], damages: dict[Path, Damage]
) -> None:
    for path, how in damages.items():
        before = (out / path).read_bytes()
        how(out / path)
        assert not (out / path).exists() or (out / path).read_bytes() != before
    ended = sweep_here(study.folder, out)
    assert ended.code == 0, ended
    assert tables(out) == undisturbed
    lost = {(path, gone) for path in (RECORD, WEIGHTS, CARD)}  # what is not there is not damaged
    made_again = {REPRESENTATIONS, OWN, BASELINE, RECORD, PREDICTIONS, WEIGHTS, CARD}
    count = sum(path in made_again and (path, how) not in lost for path, how in damages.items())
    assert count == 0 or f"{count} damaged" in ended.out, ended.out


def test_what_killed_writers_left_is_swept_and_never_read(
    study: SmallStudy, out: Path, undisturbed: dict[str, str]
) -> None:
    ours = [out / RECORD, out / PREDICTIONS, out / WEIGHTS, out / "pairs.parquet"]
    left = [path.with_name(f"{path.name}.tmp-0123abcd") for path in ours]
    for path in left:
        path.write_text("half a f")
    os.utime(left[-1], (time.time() - 7200,) * 2)
    at_work = out / "transfer.parquet.tmp-0123abcd"
    at_work.write_text("of another architecture's run, which is at work")
    ended = sweep_here(study.folder, out)
    assert ended.code == 0, ended
    assert [path for path in left if path.exists()] == []
    assert at_work.exists()
    at_work.unlink()
    assert tables(out) == undisturbed


def test_what_has_changed_is_said_per_cohort(tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "study", "acc", "uvm"), tmp_path / "out"
    first = sweep_here(study.folder, out, "--no-baselines")
    assert "changed:" not in first.out
    study.set_cell("uvm", 4, "t", "4321")
    study.write_slide("ACC", "TCGA-AC-0001-01Z-00-DX1", np.ones((3, 6), np.float32))
    second = sweep_here(study.folder, out, "--no-baselines")
    said = sorted(line for line in second.out.splitlines() if line.startswith("changed:"))
    assert said == [
        "changed: acc: 1 slide changed since the last run; what was made from it is made again",
        "changed: uvm: 1 label changed since the last run; what was made from it is made again",
    ]
    assert "changed:" not in sweep_here(study.folder, out, "--no-baselines").out


def failing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the disk fails whenever the slide called `name` is read."""
    read = bags.read_features_into

    def fails(path: str, part: Any) -> None:
        if name in path:
            raise fault_of(OSError(errno.EIO, os.strerror(errno.EIO)))
        read(path, part)

    monkeypatch.setattr(bags, "read_features_into", fails)


def test_what_a_passing_fault_touched_is_made_again(
    study: SmallStudy, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing("TCGA-UV-0004-01Z", patch)
        ended = sweep_here(study.folder, tmp_path / "out")
    assert ended.code == 0, "one slide stops nobody"
    assert "lack slides that could not be read this time; the same command tries again" in ended.out
    pairs = pd.read_parquet(tmp_path / "out" / "pairs.parquet").set_index(["source", "target"])
    assert pairs.loc[("acc", "uvm"), "n_patients"] == 11
    touched = [pair for pair, count in pairs["passing_slides"].items() if count]
    assert {target for _, target in touched} == {"acc", "uvm"}
    assert [source for source, target in touched if target == "acc"] == ["uvm"], "its models lack the slide"
    assert tables(tmp_path / "out") != undisturbed

    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("fold_*.safetensors")}
    again = sweep_here(study.folder, tmp_path / "out")
    assert "lack slides" not in again.out
    assert tables(tmp_path / "out") == undisturbed
    redone = {path.parent.name for path, then in trained.items() if path.stat().st_mtime_ns != then}
    assert redone == {"uvm"}


def test_a_slide_that_stays_bad_is_not_tried_for_ever(tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "study", "acc", "uvm"), tmp_path / "out"
    with h5py.File(study.features("UVM", "TCGA-UV-0004-01Z-00-DX1"), "r+") as file:
        file["features"][...] = np.nan
    first: Said = sweep_here(study.folder, out, "--no-baselines")
    assert "could not be used and were left out (uvm 1)" in first.out
    assert records_of(out, sweep_here(study.folder, out, "--no-baselines")) == records_of(out, first)


def records_of(out: Path, ended: Said) -> Sequence[tuple[Path, int]]:
    assert ended.code == 0
    return [(path, path.stat().st_mtime_ns) for path in sorted((out / "pairs").rglob("*.json"))]
