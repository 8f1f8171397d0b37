"""Everything below experiments/ imports, trains and measures where neither Ray nor MLflow nor Optuna is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = """
import importlib, pkgutil, sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "mlflow", "optuna"}:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocked())
import cropkt

imported = []
for module in pkgutil.walk_packages(cropkt.__path__, "cropkt."):
    if not module.name.startswith("cropkt.experiments"):
        importlib.import_module(module.name)
        imported.append(module.name)
assert {"cropkt.transfer.pair", "cropkt.training.loop", "cropkt.report.matrix"} <= set(imported), imported

from small_studies import small_plan, write_study
from cropkt.data.bags import read_bags
from cropkt.data.study import open_study
from cropkt.training.sources import load_source_models, store_null_model, train_cohort
from cropkt.transfer.pair import hold_target, measure_pair

folder = Path(sys.argv[1])
study = open_study(write_study(folder / "study", "acc", "uvm").folder)
plan = small_plan(folder / "models", epochs=1)
store_null_model(plan)
train_cohort(plan, study.cohorts["acc"], [0, 1, 2])
target = hold_target(study.cohorts["uvm"], read_bags(study.cohorts["uvm"]))
pair = measure_pair(load_source_models(plan, "acc", [0, 1, 2]), target).pair
assert pair.status == "ok", pair
assert not {"ray", "mlflow", "optuna"} & set(sys.modules)
try:
    import cropkt.experiments.sweep.trial
except ModuleNotFoundError as error:
    assert error.name in ("ray", "mlflow", "optuna"), error
else:
    raise AssertionError("the block does not block")
print(len(imported), "modules,", pair.n_patients, "patients")
"""


@pytest.mark.system
def test_the_core_runs_without_ray_mlflow_and_optuna(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, "-c", CORE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "12 patients" in result.stdout
