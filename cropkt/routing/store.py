"""Routing on disk: what a target's outer folds left behind, the expert vectors they start from, the table they make.

As with pairs, a fold's record is written last and carries the fingerprint of what decided it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cropkt.borrowing.advice.worth import expected_concordance
from cropkt.data.patients.folds import Fold
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError
from cropkt.files import atomic_path, content_digest, digest, read_json, write_json
from cropkt.routing.borrowed import BORROWED, in_order
from cropkt.routing.methods import METHOD_LABELS, FittedFold
from cropkt.routing.rows import FOLD_GATES, FOLD_PREDICTIONS
from cropkt.transfer.columns import read_table
from cropkt.transfer.judgement.verdicts import judge_methods
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.rows import GATES, ROUTING, Kind
from cropkt.transfer.significance import TargetPredictions
from cropkt.transfer.source_choice import method_rows, source_choices
from cropkt.transfer.store import ResultsFolder, is_file_as_written

FROM_SWEEP = {
    "self": "own model",
    "honest": "best single source, chosen on training patients",
    "oracle": "best single source, chosen on test patients (an upper bound)",
    "rank_average": "all sources, ranks averaged",
    "majority_vote": "all sources, majority vote",
}
TUNED = {"fusion_tuned": "fusion, tuned", "own_tuned": "own model, tuned"}
NAMES = {**BORROWED, **FROM_SWEEP, **METHOD_LABELS, **TUNED}
"""What methods are called in tables that people read."""
_FILES = ("router", "gates", "predictions")


@dataclass(frozen=True)
class FoldRecord:
    """That an outer fold is fitted, and with which settings.

    chosen: by kind of search, the values it chose ({}: the default). tuned: methods whose settings a search chose.
    chosen_source: the best single source on the fold's training patients, None without one. files: content digests
    (files.content_digest) of its router, gates and predictions.
    """

    fingerprint: str
    target: str
    fold: int
    chosen: Mapping[str, Mapping[str, Any]]
    tuned: tuple[str, ...]
    inner_parts: int
    cross_fitted: bool
    chosen_source: str | None
    seconds: float
    files: Mapping[str, str] = field(default_factory=dict)


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

    def _files(self, fold: int) -> dict[str, Path]:
        paths = (self.router_path(fold), self.gates_path(fold), self.predictions_path(fold))
        return dict(zip(_FILES, paths, strict=True))

    def record(self, fold: int) -> FoldRecord | None:
        """The record of a fold, or None when it is missing or damaged, or one of the files it promises is."""
        content = read_json(self.record_path(fold)) or {}
        try:
            record = FoldRecord(**{**content, "tuned": tuple(content["tuned"])})
            paths = self._files(fold)
            whole = (
                isinstance(record.files, dict)
                and set(record.files) == set(_FILES)
                and all(is_file_as_written(paths[kind], known) for kind, known in record.files.items())
            )
        except (KeyError, TypeError):
            return None
        return record if whole and record.fold == fold and record.target == self.target else None

    def records(self, n_folds: int) -> dict[int, FoldRecord]:
        """Whole records by fold, of the first `n_folds` folds."""
        return {fold: record for fold in range(n_folds) if (record := self.record(fold)) is not None}

    def store_record(self, record: FoldRecord) -> None:
        """Write a fold's record, with the digests of the files that are there; it comes last."""
        files = {kind: content_digest(path) for kind, path in self._files(record.fold).items()}
        write_json(self.record_path(record.fold), vars(replace(record, files=files)))


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
        found = results.representations(source, target)
        path = results.representations_path(source, target)
        if found is None or not set(folds) <= set(found.source_folds):
            raise CheckpointError(
                f"{path}: no vectors of {source}'s folds {', '.join(map(str, folds))} for {target}; "
                "run scripts/sweep_transfer.py for this pair with these --folds"
            )
        where = {patient: index for index, patient in enumerate(found.patients)}
        if missing := [patient for patient in patients if patient not in where]:
            raise CheckpointError(f"{path}: no vector of patient {missing[0]}; delete {path} and run the sweep again")
        rows = [where[patient] for patient in patients]
        chosen = [found.source_folds.index(fold) for fold in folds]
        vectors.append(found.vectors[chosen].mean(dim=0)[rows])
    return torch.stack(vectors, dim=1).numpy()


def chosen_sources(predictions: TargetPredictions | None, splits: Sequence[Fold], sources: Sequence[str]) -> list[str]:
    """For each fold that of `sources` with the best C-index on the fold's training patients (source_choice.py); empty
    where none has been measured."""
    measured = [source for source in sources if predictions is not None and source in predictions.risk]
    if predictions is None or not measured:
        return []
    return source_choices(predictions, measured, splits)[1]["honest"]


def store_own_vectors(
    path: Path, vectors: Mapping[tuple[int, ...], np.ndarray], fingerprint: str, patients: Sequence[str]
) -> None:
    """Write own models' vectors (B, V) of `patients`, with what decided them, in one file."""
    tensors = {"-".join(map(str, parts)) or "all": torch.from_numpy(array) for parts, array in vectors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"decided_by": digest(fingerprint, list(patients))})


def read_own_vectors(path: Path, fingerprint: str, patients: Sequence[str]) -> dict[tuple[int, ...], np.ndarray]:
    """What `store_own_vectors` has written; nothing when it is missing or damaged, or was decided by something else."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("decided_by") != digest(fingerprint, list(patients)):
                return {}
            return {
                () if name == "all" else tuple(map(int, name.split("-"))): file.get_tensor(name).numpy()
                for name in file.keys()  # noqa: SIM118 - not a mapping
            }
    except (OSError, SafetensorError):
        return {}


def forget_fold(routing: RoutingFolder, fold: int) -> None:
    """Remove what a fold has left, its record first: what is there without a record belongs to no fit."""
    router = routing.router_path(fold)
    for path in (
        routing.record_path(fold),
        router.with_suffix(".json"),
        router,
        routing.gates_path(fold),
        routing.predictions_path(fold),
    ):
        path.unlink(missing_ok=True)


def store_fold(routing: RoutingFolder, fitted: FittedFold, record: FoldRecord) -> None:
    """Write a fitted fold's predictions, gates and then its record; the router has been saved before."""
    FOLD_PREDICTIONS.write(routing.predictions_path(record.fold), fitted.predictions)
    FOLD_GATES.write(routing.gates_path(record.fold), fitted.gates)
    routing.store_record(record)


@dataclass(frozen=True)
class RoutedFolds:
    """One cross-validation of a routed target: where its fits lie, its folds, what sources and the target's own models
    say in it (None: not measured), and what borrowing says (borrowed.borrowed_methods). log_risk: (B,) the truth of a
    simulated study, in the order of the predictions' patients."""

    folder: RoutingFolder
    folds: Sequence[Fold]
    predictions: TargetPredictions | None
    borrowed: Mapping[str, dict[str, np.ndarray]] = field(default_factory=dict)
    log_risk: np.ndarray | None = None

    def is_whole(self) -> bool:
        """Whether every fold is fitted."""
        return self.predictions is not None and len(self.folder.records(len(self.folds))) == len(self.folds)

    def risks(self) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
        """(M, B) risks by method on the test patients of the fitted folds, and the sources each has chosen, by fold."""
        predictions = self.predictions
        assert predictions is not None
        records = self.folder.records(len(self.folds))
        candidates = [source for source in predictions.risk if mode_of(source, self.folder.target) == "transfer"]
        risks, chosen = source_choices(predictions, candidates, self.folds) if candidates else ({}, {})
        fitted = pd.concat([pd.read_parquet(self.folder.predictions_path(fold)) for fold in records])
        for method, predicted in fitted.groupby("method", sort=False):
            risk = predicted.set_index("patient_id")["risk"].reindex(list(predictions.patients))
            risks[str(method)] = risk.to_numpy(dtype=np.float64)[None, :]
        for method, of_patients in self.borrowed.items():
            risks[method] = in_order(of_patients, predictions.patients)
        there = np.isin(predictions.tested_in, list(records))
        return {name: np.where(there, risk, np.nan) for name, risk in risks.items()}, chosen

    def true_c_index(self, risk: np.ndarray) -> float:
        """Of (M, B) `risk`, over the pairs that one model ranks within a test fold; NaN where no truth is known."""
        if self.predictions is None or self.log_risk is None:
            return np.nan
        tested_in = self.predictions.tested_in
        by_fold = [np.where(tested_in == fold, model, np.nan) for model in risk for fold in np.unique(tested_in)]
        return expected_concordance(np.stack(by_fold), self.log_risk)


def method_table(first: RoutedFolds, repeats: Sequence[RoutedFolds] = ()) -> pd.DataFrame:
    """One row per method (rows.ROUTING), fitted here or in the sweep, all on the test patients of the fitted folds.

    What borrows coefficients comes first. repeats: further cross-validations, for the rows' means and errors; one that
    lacks a fold counts for nothing, nor do they where `first` lacks one.
    """
    results, predictions = first.folder.results, first.predictions
    records = first.folder.records(len(first.folds))
    if predictions is None or not records:
        return ROUTING.frame([])
    risks, chosen = first.risks()
    whole = [repeat for repeat in repeats if first.is_whole() and repeat.is_whole()]
    of_repeats = [(repeat, repeat.risks()[0]) for repeat in whole]
    further = [(repeat.predictions, said) for repeat, said in of_repeats if repeat.predictions is not None]
    rows = method_rows(predictions, risks, chosen, further)
    tuned = {method for record in records.values() for method in record.tuned}
    order = list(NAMES)
    cases = [(first, risks), *of_repeats]
    rows = sorted((replace(row, tuned=row.method in tuned) for row in rows), key=lambda row: order.index(row.method))
    kind = vars(Kind(results.encoder, results.architecture))
    true = {
        row.method: np.mean([of.true_c_index(said[row.method]) for of, said in cases if row.method in said])
        for row in rows
    }
    return ROUTING.frame({**kind, **vars(row), "c_index_true": true[row.method]} for row in rows)


def read_gates(routing: RoutingFolder, n_folds: int) -> pd.DataFrame:
    """Gates (rows.GATES) of the test patients of those of `n_folds` that are fitted."""
    results = routing.results
    tables = [pd.read_parquet(routing.gates_path(fold)) for fold in routing.records(n_folds)]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return GATES.filled(found.assign(target=routing.target, encoder=results.encoder, architecture=results.architecture))


def write_routing(results: ResultsFolder, methods: pd.DataFrame, gates: pd.DataFrame, codes: Sequence[str]) -> None:
    """Write routing.parquet and gates.parquet: these rows, and of earlier runs those of other targets among `codes`,
    the cohorts of today's study, and of other encoders and architectures."""
    routed = set(methods["target"])
    for table, rows in ((ROUTING, methods), (GATES, gates)):
        known = read_table(results.out / table.path)
        earlier = table.filled(pd.DataFrame() if known is None else known)
        replaced = results.owns(earlier) & earlier["target"].isin(routed)
        kept = earlier[earlier["target"].isin(codes) & ~replaced]
        parts = [part for part in (kept, rows) if len(part)]
        whole = pd.concat(parts, ignore_index=True) if parts else rows
        table.write(results.out / table.path, judge_methods(whole) if table is ROUTING else whole)
