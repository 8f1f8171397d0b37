"""What the sweeps of these tests have in common, and how to look at what they leave behind."""

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from processes import Ended

COHORTS = ("acc", "uvm", "kipan", "lung", "brca")
PAIRS = len(COHORTS) ** 2
MODELS = Path("models") / "uni2-h" / "abmil"
SETTINGS = ("--epochs", 20, "--learning-rate", 3e-3)


@dataclass(frozen=True)
class Undisturbed:
    """A sweep nothing happened to."""

    out: Path
    ended: Ended


def sweep_arguments(study: Path, out: Path) -> list[str | Path | int | float]:
    """What every sweep of the study is told, so that all have to find the same."""
    return ["--study", study, "--out", out, *SETTINGS]


def records(out: Path) -> dict[Path, int]:
    """Every record of a pair or baseline, and when it was written."""
    paths = [path for path in (out / "pairs").rglob("*.json") if not path.name.startswith(".")]
    return {path.relative_to(out): path.stat().st_mtime_ns for path in paths}


def logged(out: Path, experiment: str = "small") -> list[Run]:
    """Every run in the store beside the results."""
    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], max_results=1000))
