"""Learning curves on real Ray: source models, pan-cancer networks and draws by workers, from one command."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from processes import PATIENCE, ROOT

from cropkt.simulation.config import SimulationConfig
from cropkt.simulation.study import simulate_study

METHODS = (
    *("borrowed", "own_ridge", "own_abmil", "pan_abmil", "pan_abmil_tuned", "pan_abmil_borrowed", "borrowed_both"),
    *("task_vectors_mean", "task_vectors_ties", "task_vectors_ada"),
)


def test_every_kind_of_method_is_measured_by_one_command(tmp_path: Path) -> None:
    study, out = tmp_path / "study", tmp_path / "out"
    few = SimulationConfig(cohorts=("uvm", "chol", "acc"), patients=0.5, patches=(4, 8), dim=16, folds=2, seed=9)
    simulate_study(study, few)
    asked = ["--targets", "uvm", "--patients", "10", "--draws", "1", "--methods", ",".join(METHODS), "--folds", "0"]
    settings = ["--epochs", "4", "--learning-rate", "1e-2", "--workers", "1", "--no-tracking"]
    command = [sys.executable, "-m", "cropkt", "curve", "--study", str(study), "--out", str(out), *asked, *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    table = pd.read_parquet(out / "curve.parquet").set_index("method")
    assert sorted(table.index) == sorted(METHODS)
    assert table["fitted"].all()
    assert table["c_index_true"].between(0, 1).all()
    assert table["c_index_true"].nunique() > 5  # methods are not one another under other names
    assert table.loc["borrowed", "signal"] > 0
    assert "five best sources merged by AdaMerging" in ended.stdout
    for name in ("curve.png", "models", "models/simulated/abmil/pan_cancer/without-uvm/unseen.safetensors"):
        assert (out / name).exists()
