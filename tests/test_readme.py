"""The README's Python example does what it says, on a small study."""

import re
import subprocess
import sys
from pathlib import Path

import cropkt
from cropkt.simulation.config import SimulationConfig
from cropkt.simulation.study import simulate_study

ROOT = Path(__file__).resolve().parent.parent


def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    assert len(example.group(1).strip().splitlines()) <= 13
    small = SimulationConfig(cohorts=("lihc", "chol"), patients=0.4, patches=(4, 8), dim=16)
    simulate_study(tmp_path / "studies" / "demo", small)
    done = subprocess.run(
        [sys.executable, "-c", example.group(1)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"C-index \d\.\d\d, \d+ events\n", done.stdout)


def test_every_public_name_is_there_and_imported_when_asked_for() -> None:
    assert all(getattr(cropkt, name) is not None for name in cropkt.__all__)
    assert set(cropkt.__all__) == set(cropkt._PLACES)
    code = "import sys, cropkt; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules); cropkt.open_study"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})
