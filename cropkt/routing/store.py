"""Routing on disk: what a target's outer folds left behind, the expert vectors they start from, the table they make.

As with pairs, a fold's record is written last and carries the fingerprint of what decided it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError
from cropkt.files import atomic_path, digest, write_json
from cropkt.routing.methods import METHOD_LABELS, FittedFold
from cropkt.transfer.assemble import read_predictions
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.significance import TargetPredictions
from cropkt.transfer.source_choice import method_rows, source_choices
from cropkt.transfer.store import ResultsFolder, read_json, read_record, read_records, read_representations

FROM_SWEEP = {
    "self": "own model",
    "honest": "best single source, chosen on training patients",
    "oracle": "best single source, chosen on test patients (an upper bound)",
    "rank_average": "all sources, ranks averaged",
    "majority_vote": "all sources, majority vote",
}
TUNED = {"fusion_tuned": "fusion, tuned", "own_tuned": "own model, tuned"}
NAMES = {**FROM_SWEEP, **METHOD_LABELS, **TUNED}
"""What methods are called in tables that people read."""
TABLE_COLUMNS = [
    "target",
    "encoder",
    "architecture",
    "method",
    "c_index_mean",
    "c_index_pooled",
    "standard_error",
    "interval_lower",
    "interval_upper",
    "n_events",
    "difference_self",
    "p_self",
    "folds",
    "tuned",
]


@dataclass(frozen=True)
class RoutingFolder:
    """Where the routing of one target lies: OUT/routing/<encoder>/<architecture>/<target>."""

    results: ResultsFolder
    target: str

    @property
    def path(self) -> Path:
        """The target's folder."""
        return self.results.out / "routing" / self.results.encoder / self.results.architecture / self.target

    def own_path(self, fold: int) -> Path:
        """Vectors of own models that did not see parts of a fold's training patients."""
        return self.path / "own_vectors" / f"fold_{fold}.safetensors"

    def search_path(self, kind: str, fold: int) -> Path:
        """Every trial of a search."""
        return self.path / "search" / kind / f"fold_{fold}.json"

    def record_path(self, fold: int) -> Path:
        """That a fold is done, and with which settings."""
        return self.path / "folds" / f"fold_{fold}.json"

    def predictions_path(self, fold: int) -> Path:
        """What every method says of the fold's test patients."""
        return self.path / "predictions" / f"fold_{fold}.parquet"

    def gates_path(self, fold: int) -> Path:
        """Gates and probabilities of the fold's test patients."""
        return self.path / "gates" / f"fold_{fold}.parquet"

    def router_path(self, fold: int) -> Path:
        """The fold's router."""
        return self.path / "router" / f"fold_{fold}.safetensors"


def expert_sources(cohorts: Mapping[str, Cohort], target: str, sources: Sequence[str]) -> list[str]:
    """Those of `sources` that can be experts for `target`: another cohort that shares no patient with it."""
    patients = cohorts[target].labels.index
    return [source for source in sources if source != target and not cohorts[source].labels.index.isin(patients).any()]


def read_source_vectors(
    results: ResultsFolder, target: str, patients: Sequence[str], sources: Sequence[str], folds: Sequence[int]
) -> np.ndarray:
    """(B, n - 1, V) float32: for each source the mean of its `folds` models' vectors of the target's `patients`.

    Raises CheckpointError when a pair has not been measured with these folds and patients.
    """
    vectors = []
    for source in sources:
        record = read_record(results, source, target)
        measured = sorted({row["source_fold"] for row in record["folds"]}) if record else []
        path = results.representations_path(source, target)
        if not path.exists() or not set(folds) <= set(measured):
            raise CheckpointError(
                f"{path}: no vectors of {source}'s folds {', '.join(map(str, folds))} for {target}; "
                "run scripts/sweep_transfer.py for this pair with these --folds"
            )
        representation, known = read_representations(results, source, target)
        where = {patient: index for index, patient in enumerate(known)}
        if missing := [patient for patient in patients if patient not in where]:
            raise CheckpointError(f"{path}: no vector of patient {missing[0]}; delete {path} and run the sweep again")
        rows = [where[patient] for patient in patients]
        chosen = [measured.index(fold) for fold in folds]
        vectors.append(representation[chosen].mean(dim=0)[rows])
    return torch.stack(vectors, dim=1).numpy()


def chosen_sources(results: ResultsFolder, cohort: Cohort, sources: Sequence[str]) -> list[str]:
    """For each fold that of `sources` with the best C-index on the fold's training patients (source_choice.py)."""
    predictions = read_predictions(results, cohort.code, sources)
    if predictions is None:
        return []
    return source_choices(predictions, list(predictions.risk), cohort.folds)[1]["honest"]


def store_own_vectors(
    path: Path, vectors: Mapping[tuple[int, ...], np.ndarray], fingerprint: str, patients: Sequence[str]
) -> None:
    """Write own models' vectors (B, V) of `patients`, with what decided them, in one file."""
    tensors = {"-".join(map(str, parts)) or "all": torch.from_numpy(array) for parts, array in vectors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"decided_by": digest(fingerprint, list(patients))})


def read_own_vectors(path: Path, fingerprint: str, patients: Sequence[str]) -> dict[tuple[int, ...], np.ndarray]:
    """What `store_own_vectors` has written; nothing when it is not there, or was decided by something else."""
    if not path.exists():
        return {}
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("decided_by") != digest(fingerprint, list(patients)):
            return {}
        return {
            () if name == "all" else tuple(map(int, name.split("-"))): file.get_tensor(name).numpy()
            for name in file.keys()  # noqa: SIM118 - not a mapping
        }


def forget_fold(folder: RoutingFolder, fold: int) -> None:
    """Remove what a fold has left, its record first: what is there without a record belongs to no fit."""
    router = folder.router_path(fold)
    for path in (
        folder.record_path(fold),
        router.with_suffix(".json"),
        router,
        folder.gates_path(fold),
        folder.predictions_path(fold),
    ):
        path.unlink(missing_ok=True)


def store_fold(folder: RoutingFolder, fold: int, fitted: FittedFold, record: Mapping[str, Any]) -> None:
    """Write a fitted fold's predictions, gates and then its record; the router has been saved before."""
    for path, table in (
        (folder.predictions_path(fold), fitted.predictions),
        (folder.gates_path(fold), fitted.gates),
    ):
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False, compression="zstd")
    write_json(folder.record_path(fold), dict(record))


def method_table(folder: RoutingFolder, cohort: Cohort, sources: Sequence[str]) -> pd.DataFrame:
    """One row a method (TABLE_COLUMNS), fitted here or in the sweep, all on the test patients of the fitted folds."""
    results, target = folder.results, folder.target
    measured = [
        record["pair"]["source"]
        for record in read_records(results.out, results.encoder, results.architecture, target)
        if record["fingerprint"]
    ]
    predictions = read_predictions(results, target, [name for name in measured if name in (*sources, target)])
    records = {fold: record for fold in range(len(cohort.folds)) if (record := read_json(folder.record_path(fold)))}
    if predictions is None or not records:
        return pd.DataFrame(columns=TABLE_COLUMNS)
    candidates = [source for source in predictions.risk if mode_of(source, target) == "transfer"]
    risks, _ = source_choices(predictions, candidates, cohort.folds) if candidates else ({}, {})
    fitted = pd.concat([pd.read_parquet(folder.predictions_path(fold)) for fold in records])
    for method, predicted in fitted.groupby("method", sort=False):
        risk = predicted.set_index("patient_id")["risk"].reindex(list(predictions.patients))
        risks[str(method)] = risk.to_numpy(dtype=np.float64)[None, :]
    there = np.isin(predictions.tested_in, list(records))
    rows = method_rows(predictions, {name: np.where(there, risk, np.nan) for name, risk in risks.items()})
    table = pd.DataFrame(rows)
    table["encoder"], table["architecture"] = results.encoder, results.architecture
    table["folds"] = [_folds_scored(predictions, np.where(there, risks[name], np.nan)) for name in table["method"]]
    tuned = {method for record in records.values() for method in record["tuned"]}
    table["tuned"] = table["method"].isin(tuned)
    order = {name: number for number, name in enumerate(NAMES)}
    return table.sort_values("method", key=lambda names: names.map(order), kind="stable")[TABLE_COLUMNS]


def _folds_scored(predictions: TargetPredictions, risk: np.ndarray) -> int:
    return len(np.unique(predictions.tested_in[np.isfinite(risk).any(axis=0)]))


def read_gates(folder: RoutingFolder, folds: int) -> pd.DataFrame:
    """Gates of the test patients of those of `folds` that are fitted: patient_id, fold, expert, gate, probability."""
    paths = [folder.gates_path(fold) for fold in range(folds) if folder.record_path(fold).exists()]
    columns = ["patient_id", "fold", "expert", "gate", "probability"]
    return pd.concat(map(pd.read_parquet, paths), ignore_index=True) if paths else pd.DataFrame(columns=columns)
