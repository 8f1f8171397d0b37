"""The copies that a store kept in an SQLite file has of a run; they lie beside the file, in mlflow-artifacts/."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cropkt.experiments.tracking.store import REFERENCES, SERVED


def artifact_folder(uri: str, run: Any) -> Path:
    below = unquote(run.info.artifact_uri.removeprefix(SERVED))
    return Path(uri.removeprefix("sqlite:///")).parent / "mlflow-artifacts" / below


def artifacts(uri: str, run: Any) -> set[str]:
    return {path.name for path in artifact_folder(uri, run).iterdir()}


def references(uri: str, run: Any) -> dict[str, str]:
    """Digest by path, below the results folder, of files that a run names and has no copy of."""
    listed: dict[str, str] = json.loads((artifact_folder(uri, run) / REFERENCES).read_text())
    return listed
