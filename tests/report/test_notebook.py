"""The notebook of figure 1 runs from top to bottom on a results folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_results import write_results
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "figure1.ipynb"
EXECUTE = """
import sys, nbclient, nbformat
done = nbclient.NotebookClient(nbformat.read(sys.argv[1], 4), timeout=240).execute()
print([output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])])
"""


@pytest.mark.system
def test_the_notebook_draws_figure_1(tmp_path: Path) -> None:
    out = write_results(tmp_path / "out", ["blca", "cesc", "sarc"], patients=40).out
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        env={
            **os.environ,
            "CROPKT_RESULTS": str(out),
            "PYTHONPATH": str(ROOT),
            "IPYTHONDIR": str(tmp_path / "ipython"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "3 cohorts, uni2-h, abmil" in done.stdout
    with Image.open(out / "figure1.png") as picture:
        assert picture.width > 1000
    assert (out / "figure1.pdf").is_file()
