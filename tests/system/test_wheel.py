"""cropkt as a hospital gets it: a wheel in its own environment, far from any clone, and models that travel there."""

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import ROOT
from small_studies import SmallStudy, write_study

from cropkt.report.read import choose_results

CODES = ("acc", "uvm")


@dataclass(frozen=True)
class Installed:
    """An environment with cropkt from its wheel, and a folder that is nobody's."""

    cropkt: Path
    folder: Path

    def run(self, *arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
        """Run a command there, with nothing of this process's environment."""
        environment = {"PATH": os.defpath, "HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
        command = [str(self.cropkt), *map(str, arguments)]
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Other packages are those of this environment; of cropkt itself there is only the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "cropkt", source / "cropkt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", folder, source)
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip(python, "install", "--no-deps", *folder.glob("cropkt-*.whl"))
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
    Path(own, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (folder / "elsewhere").mkdir()
    return Installed(python.with_name("cropkt"), folder / "elsewhere")


def pip(python: Path, *arguments: str | Path) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def processor_seconds(installed: Installed, *arguments: str) -> float:
    """The least of three runs: what else the machine does only adds."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        installed.run(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def test_help_is_there_at_once(installed: Installed) -> None:
    assert processor_seconds(installed, "--help") < 0.3
    assert processor_seconds(installed, "sweep", "--help") < 0.3


@pytest.mark.slow
def test_models_of_a_sweep_travel_to_where_there_is_no_study(installed: Installed) -> None:
    """The risks that they give there are those the sweep has stored, bit for bit."""
    study = write_study(installed.folder / "study", *CODES)
    installed.run("sweep", "--study", "study", "--out", "out", "--epochs", 2, "--no-tracking", "--no-baselines")
    installed.run("library", "export", "out", "--study", "study", "--to", "library")
    results = choose_results(installed.folder / "out", None, None)
    stored = {code: pd.read_parquet(results.predictions_path("acc", code)) for code in CODES}
    for code in CODES:
        features_and_table(study, code, installed.folder / f"new_{code}")
    study.folder.rename(installed.folder.parent / "nowhere")
    shutil.rmtree(installed.folder / "out")
    for code in CODES:
        new = installed.folder / f"new_{code}"
        given = ("--features", new / "slides", "--table", new / "patients.csv", "--out", new / "risks.parquet")
        installed.run("predict", "--library", "library", "--source", "acc", *given)
        require_same(pd.read_parquet(new / "risks.parquet"), stored[code])


def features_and_table(study: SmallStudy, code: str, folder: Path) -> None:
    """What the hospital has: the slides, and whose they are."""
    (folder / "slides").mkdir(parents=True)
    rows = study.rows(code)[1:]
    for row in rows:
        shutil.copy(study.features(row[4].removeprefix("TCGA-"), row[1]), folder / "slides")
    lines = ["slide,patient_id", *(f"{row[1]},{row[0]}" for row in rows)]
    (folder / "patients.csv").write_text("\n".join(lines) + "\n")


def require_same(risks: pd.DataFrame, stored: pd.DataFrame) -> None:
    by_patient = risks.set_index("patient_id")
    assert len(stored) >= len(by_patient) > 0
    for fold, of_fold in stored.groupby("source_fold"):
        now = by_patient.loc[of_fold["patient_id"], f"risk_fold_{fold}"].to_numpy()
        assert now.dtype == np.float32
        assert np.array_equal(now, of_fold["risk"].to_numpy())
