"""Whatever docs/extending.md describes can be added from outside the package, in one file, and is used everywhere."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cropkt.errors import ConfigError, InputError
from cropkt.factors.facts.distances import DISTANCES
from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.fusions import FUSIONS
from cropkt.registry import Table
from cropkt.survival.losses import LOSSES, Loss
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.measure_baseline import measure_baseline

ROOT = Path(__file__).resolve().parent.parent
TABLES: list[Table[Any]] = [ARCHITECTURES, BASELINES, DISTANCES, FUSIONS, LOSSES]
ENTRY_POINTS = """
[cropkt.architectures]
toy_first = toy_extension:FirstPatch
[cropkt.losses]
toy_exponential = toy_extension:LOSS
[cropkt.fusions]
toy_max = toy_extension:LargestVector
[cropkt.baselines]
toy_few_patches = toy_extension:BASELINE
[cropkt.distances]
toy_means = toy_extension:DISTANCE
"""


def install(folder: Path, entry_points: str) -> None:
    """As pip leaves a package that brings these entry points."""
    metadata = folder / "toy_extension-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-extension\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def in_another_process(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    tests = ROOT / "tests"
    paths = [installed, ROOT, tests, tests / "report", tests / "toy_extension"]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.system
def test_one_of_each_is_added_from_outside_the_package(tmp_path: Path) -> None:
    install(tmp_path, ENTRY_POINTS)
    script = ROOT / "tests" / "toy_extension" / "use_them.py"
    result = in_another_process(tmp_path, str(script), str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "all toys were used" in result.stdout


@pytest.mark.parametrize(
    ("entry_points", "said"),
    [
        ("[cropkt.losses]\ncox_nll = toy_extension:LOSS\n", "cox_nll.*is there already"),
        ("[cropkt.losses]\nother = toy_extension:LOSS\n", "'toy_exponential'; it must be called 'other'"),
    ],
)
def test_a_wrong_entry_point_is_said(tmp_path: Path, entry_points: str, said: str) -> None:
    install(tmp_path, entry_points)
    result = in_another_process(tmp_path, "-c", "from cropkt.survival.losses import LOSSES; LOSSES.records()")
    assert result.returncode != 0
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(result.stderr)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_a_label_read_from_the_source_is_the_records_own(table: Table[Any]) -> None:
    fresh: Table[Any] = Table(table.kind, table.package)
    assert fresh.labels() == {record.name: record.label for record in table.records()}
    assert list(fresh) == sorted(fresh)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_an_unknown_name_is_an_error_that_names_the_nearest(table: Table[Any]) -> None:
    name = next(iter(table))
    with pytest.raises(InputError, match=f"{table.kind} '{name}s' is unknown; did you mean '{name}'"):
        table[name + "s"]
    assert name + "s" not in table


def test_what_is_registered_is_there_and_takes_no_others_name() -> None:
    losses: Table[Loss] = Table("loss", "cropkt.survival.losses")
    mine = Loss("mine", "mine", LOSSES["cox_nll"].value, LOSSES["cox_nll"].hazard_and_risk)
    assert losses.register(mine) is losses["mine"]
    assert losses.labels()["mine"] == "mine"
    assert len(losses) == len(LOSSES) + 1
    with pytest.raises(ConfigError, match="is there already"):
        losses.register(mine)
    assert "mine" not in LOSSES


def test_help_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from cropkt.models.names import *; print('torch' in sys.modules, *LOSS_NAMES)"
    result = in_another_process(tmp_path, "-c", code)
    assert result.stdout.split() == ["False", *LOSSES], result.stderr


def test_a_baseline_without_a_record_is_not_measured() -> None:
    with pytest.raises(InputError, match="baseline 'nonsense' is unknown; choose one of"):
        measure_baseline("nonsense", None, None)  # type: ignore[arg-type]
