"""What has been measured, on disk: one small file a pair is the truth, the tables (tables.py) are assembled from them.

A pair's record is written last, after its predictions and representations, so a record promises that all three are
whole. Records carry the fingerprint of what they were measured from: a pair is done when its record's fingerprint is
today's, and a run that was stopped goes on with the pairs that are not done.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cropkt.files import atomic_path, write_json
from cropkt.transfer.pair import PairResult
from cropkt.transfer.protocol import mode_of


@dataclass(frozen=True)
class ResultsFolder:
    """Where the results of one encoder and architecture lie under `out`; the tables cover all of them."""

    out: Path
    encoder: str
    architecture: str

    @property
    def models(self) -> Path:
        """Source models: null.safetensors and one folder a cohort."""
        return self.out / "models" / self.encoder / self.architecture

    def _of_pair(self, kind: str, source: str, target: str, suffix: str) -> Path:
        return self.out / kind / self.encoder / self.architecture / target / f"{source}{suffix}"

    def record_path(self, source: str, target: str) -> Path:
        """The pair's record: fingerprint, summary, fold rows."""
        return self._of_pair("pairs", source, target, ".json")

    def predictions_path(self, source: str, target: str) -> Path:
        """Risk and hazards by patient and source fold."""
        return self._of_pair("predictions", source, target, ".parquet")

    def representations_path(self, source: str, target: str) -> Path:
        """Bag vectors by source fold and patient."""
        return self._of_pair("representations", source, target, ".safetensors")

    def comparison_path(self, target: str) -> Path:
        """What every source of a target is compared with, and which source is to be chosen."""
        return self.out / "comparisons" / self.encoder / self.architecture / f"{target}.json"


def store_pair(
    folder: ResultsFolder, result: PairResult, *, fingerprint: str, patients: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Write predictions, representations and then the record of a pair; returns the record."""
    source, target = result.pair["source"], result.pair["target"]
    if result.predictions is not None:
        with atomic_path(folder.predictions_path(source, target)) as temporary:
            result.predictions.to_parquet(temporary, index=False, compression="zstd")
    if result.representation is not None:
        with atomic_path(folder.representations_path(source, target)) as temporary:
            # float16 halves 4 GB a study; a bag vector's entries are means of activations, of order 1.
            vectors = torch.from_numpy(result.representation).clamp(-65504, 65504).half()
            save_file({"representation": vectors}, temporary, metadata={"patients": json.dumps(list(patients))})
    record = {
        "fingerprint": fingerprint,
        "pair": {**result.pair, "seconds": seconds},
        "folds": result.folds,
    }
    write_json(folder.record_path(source, target), record)
    return record


def store_failure(folder: ResultsFolder, source: str, target: str, reason: str) -> None:
    """Record that a pair could not be measured, and why. It counts as not done, so the next run tries it again."""
    pair = {
        "source": source,
        "target": target,
        "encoder": folder.encoder,
        "architecture": folder.architecture,
        "mode": mode_of(source, target),
        "status": f"failed: {reason}",
    }
    write_json(folder.record_path(source, target), {"fingerprint": None, "pair": pair, "folds": []})


def read_record(folder: ResultsFolder, source: str, target: str) -> dict[str, Any] | None:
    """The record of a pair, or None when it has not been measured (or its file is damaged: it is measured again)."""
    return read_json(folder.record_path(source, target))


def read_representations(folder: ResultsFolder, source: str, target: str) -> tuple[torch.Tensor, list[str]]:
    """Bag vectors (source folds, patients, E) float32 of a measured pair, and the patients."""
    with safe_open(folder.representations_path(source, target), framework="pt") as file:
        return file.get_tensor("representation").float(), json.loads(file.metadata()["patients"])


def read_records(
    out: Path, encoder: str = "*", architecture: str = "*", target: str | None = None
) -> list[dict[str, Any]]:
    """Every readable record under `out`, or those of one encoder, architecture or target, in path order."""
    paths = sorted((out / "pairs").glob(f"{encoder}/{architecture}/{target or '*'}/*.json"))
    return [record for path in paths if (record := read_json(path)) is not None]


def read_comparisons(out: Path) -> list[dict[str, Any]]:
    """Every readable comparison under `out`, in path order."""
    paths = sorted((out / "comparisons").glob("*/*/*.json"))
    return [comparison for path in paths if (comparison := read_json(path)) is not None]


def read_json(path: Path) -> dict[str, Any] | None:
    """What a result file holds, or None when it is not there or damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
