"""The copies that a store kept in an SQLite file has of a run; they lie beside the file, in mlflow-artifacts/."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cropkt.experiments.tracking.store import SERVED


def artifact_folder(uri: str, run: Any) -> Path:
    below = unquote(run.info.artifact_uri.removeprefix(SERVED))
    return Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts" / below


def artifacts(uri: str, run: Any) -> set[str]:
    return {path.name for path in artifact_folder(uri, run).iterdir()}
