"""The results folder of one encoder and architecture: it stores what is measured, and opens itself to readers.

One small file per pair is the truth; the tables are assembled from them (assemble.py). A pair's record is written last,
after its predictions and representations, and keeps their size and digest. So a record is whole only while all three
are as they were written, and everything that reads goes through `check_record`: what is damaged counts as not
measured. Records also carry the fingerprint of what they were measured from: a pair is done when its record's
fingerprint is today's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cropkt.cohorts import in_registry_order
from cropkt.errors import InputError
from cropkt.files import atomic_path, content_digest, stored_files, write_json
from cropkt.models.checkpoint import ModelFolder
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.columns import Table, read_table, row_from_json
from cropkt.transfer.pair import PairResult
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.rows import CHOICE, FOLDS, GATES, PAIRS, PREDICTIONS, ROUTING, STALE, FoldRow, PairRow, Status
from cropkt.transfer.significance import TargetPredictions, collect_predictions

COMPARED_COLUMNS = ["patient_id", "time", "event", "source_fold", "target_fold", "risk"]
"""The columns of predictions that comparisons are made from; hazards are left on disk."""
BETWEEN_AND_WITHIN = ("self", "transfer")
"""Modes of rows that are pairs of cohorts, and not baselines."""


@dataclass(frozen=True)
class PairRecord:
    """A pair's record. fingerprint: of what it was measured from, None after a failure. files: kind to content digest
    (files.content_digest) of its predictions and representations, where it has them."""

    fingerprint: str | None
    pair: PairRow
    folds: tuple[FoldRow, ...]
    files: Mapping[str, str] = field(default_factory=dict)

    def is_done(self, fingerprint: str | None) -> bool:
        """Whether there is nothing to measure again, where today's fingerprint is `fingerprint`."""
        return self.fingerprint == fingerprint and not self.pair.passing_slides


@dataclass(frozen=True)
class Representations:
    """Bag vectors (source folds, patients, E) float32 of a measured pair."""

    vectors: torch.Tensor
    patients: tuple[str, ...]
    source_folds: tuple[int, ...]


@dataclass(frozen=True)
class ResultsFolder:
    """Where the results of one encoder and architecture lie under `out`, and how they are read.

    Every reader gives results of this encoder and architecture alone, rows in the registry's order, columns complete.
    """

    out: Path
    encoder: str
    architecture: str

    @property
    def models(self) -> ModelFolder:
        """The source models."""
        return ModelFolder(self.out / "models" / self.encoder / self.architecture)

    def _of_pair(self, kind: str, source: str, target: str, suffix: str) -> Path:
        return self.out / kind / self.encoder / self.architecture / target / f"{source}{suffix}"

    def record_path(self, source: str, target: str) -> Path:
        """The pair's record: fingerprint, summary, fold rows."""
        return self._of_pair("pairs", source, target, ".json")

    def predictions_path(self, source: str, target: str) -> Path:
        """Risk and hazards by patient and source fold (rows.PREDICTIONS)."""
        return self._of_pair("predictions", source, target, ".parquet")

    def representations_path(self, source: str, target: str) -> Path:
        """Bag vectors by source fold and patient."""
        return self._of_pair("representations", source, target, ".safetensors")

    def comparison_path(self, target: str) -> Path:
        """Comparisons of a target's sources with baselines, and of the ways to choose a source."""
        return self.out / "comparisons" / self.encoder / self.architecture / f"{target}.json"

    def held_folders(self) -> list[Path]:
        """Folders in which nobody writes but the run that holds these results."""
        kinds = ("models", "pairs", "predictions", "representations", "comparisons", "routing")
        return [self.out / kind / self.encoder / self.architecture for kind in kinds]

    def record(self, source: str, target: str) -> PairRecord | None:
        """The whole record of a pair, or None when it is missing or damaged (`check_record`)."""
        return check_record(self, source, target)[0]

    def stored(self, target: str | None = None) -> list[tuple[str, str]]:
        """(source, target) of every record there is, whole or damaged, of one or all targets, in path order."""
        folder = self.out / "pairs" / self.encoder / self.architecture
        return [(path.stem, path.parent.name) for path in stored_files(folder, f"{target or '*'}/*.json")]

    def records(self, target: str | None = None) -> list[PairRecord]:
        """Every whole record, or those of one target, in path order."""
        return [record for pair in self.stored(target) if (record := self.record(*pair)) is not None]

    def prediction_tables(
        self, target: str, sources: Sequence[str], columns: list[str] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Prediction tables (rows.PREDICTIONS, or some `columns` of it) of those of `sources` that have whole ones."""
        tables: dict[str, pd.DataFrame] = {}
        for source in sources:
            record = self.record(source, target)
            if record is not None and "predictions" in record.files:
                table = read_table(self.predictions_path(source, target), columns)
                tables |= {} if table is None else {source: table}
        return tables

    def predictions(self, target: str, sources: Sequence[str]) -> TargetPredictions | None:
        """Risks of `target`'s patients by those of `sources` (cohorts, baselines) that have some; None if none has."""
        tables = self.prediction_tables(target, sources, COMPARED_COLUMNS)
        return collect_predictions(target, tables) if tables else None

    def representations(self, source: str, target: str) -> Representations | None:
        """Bag vectors of a measured pair, or None when there are none, or they are damaged."""
        record = self.record(source, target)
        if record is None or "representations" not in record.files:
            return None
        with safe_open(self.representations_path(source, target), framework="pt") as file:
            vectors = file.get_tensor("representation").float()
            patients = tuple(json.loads(file.metadata()["patients"]))
        return Representations(vectors, patients, tuple(sorted({row.source_fold for row in record.folds})))

    def pairs(self) -> pd.DataFrame:
        """Rows of pairs.parquet between and within cohorts. Raises InputError when the table is missing or damaged."""
        table = self.stored_table(PAIRS, required=True)
        return _in_order(table[table["mode"].isin(BETWEEN_AND_WITHIN)])

    def baselines(self) -> pd.DataFrame:
        """Rows of pairs.parquet of baselines. Raises InputError as `pairs`."""
        table = self.stored_table(PAIRS, required=True)
        return _in_order(table[table["mode"].isin(BASELINES)])

    def folds(self) -> pd.DataFrame:
        """Rows of transfer.parquet, baselines' too. Raises InputError as `pairs`."""
        return _in_order(self.stored_table(FOLDS, required=True))

    def choice(self) -> pd.DataFrame:
        """Rows of source_choice.parquet; empty without one."""
        return _in_order(self.stored_table(CHOICE))

    def stale(self) -> set[tuple[str, str]]:
        """(source, target) of records that the tables left out when they were last written; empty without a list."""
        try:
            found = pd.read_csv(self.out / STALE.path, dtype=str)
            ours = found.loc[self.owns(found), ["source", "target"]]
        except (OSError, ValueError, KeyError):
            return set()
        return set(ours.itertuples(index=False, name=None))

    def routing(self) -> pd.DataFrame:
        """Rows of routing.parquet; empty without one."""
        return _in_order(self.stored_table(ROUTING))

    def gates(self) -> pd.DataFrame:
        """Rows of gates.parquet; empty without one."""
        return _in_order(self.stored_table(GATES))

    def stored_table(self, table: Table, *, required: bool = False) -> pd.DataFrame:
        """Rows of this encoder and architecture of a stored table, in its order, columns complete; empty without one.

        Raises InputError when a `required` one is missing or damaged.
        """
        path = self.out / table.path
        if not path.is_file() and required:
            raise InputError(f"{path} is not there; give --out the results folder of a finished sweep_transfer.py")
        found = read_table(path)
        if found is None and required:
            raise InputError(f"{path}: not readable; run sweep_transfer.py again, it makes the tables anew")
        found = table.filled(pd.DataFrame() if found is None else found)
        return found[self.owns(found)].reset_index(drop=True)

    def owns(self, table: pd.DataFrame) -> pd.Series:
        """Which rows of a stored table are of this encoder and architecture."""
        return (table["encoder"] == self.encoder) & (table["architecture"] == self.architecture)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By target, then source, in the registry's order; otherwise as stored."""
    keys = [name for name in ("target", "source") if name in table]
    rank = {code: n for n, code in enumerate(in_registry_order(sorted(set(table[keys].to_numpy().ravel()))))}
    by = table[keys].apply(lambda codes: codes.map(rank))
    return table.loc[by.sort_values(keys, kind="stable").index].reset_index(drop=True)


def check_record(results: ResultsFolder, source: str, target: str) -> tuple[PairRecord | None, str]:
    """The record of a pair, or None and the reason: not measured, or damaged. The one rule for a record being whole.

    A record is whole when it can be read, is of this pair, and its predictions and representations have the size and
    digest that it says.
    """
    path = results.record_path(source, target)
    if not path.is_file():
        return None, "not measured"
    try:
        record = _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: not UTF-8, no JSON, or no record
        return None, "its record is damaged"
    found = (record.pair.source, record.pair.target, record.pair.encoder, record.pair.architecture)
    if found != (source, target, results.encoder, results.architecture):
        return None, "its record is of another pair"
    paths = {
        "predictions": results.predictions_path(source, target),
        "representations": results.representations_path(source, target),
    }
    for kind, known in record.files.items():
        if not is_file_as_written(paths[kind], known):
            return None, f"its {kind} are missing or damaged"
    return record, ""


def is_file_as_written(path: Path, known: object) -> bool:
    """Whether the file is there and has the content digest that was noted when it was written."""
    try:
        return content_digest(path) == known
    except OSError:
        return False


@lru_cache(maxsize=10_000)
def _parse(text: str) -> PairRecord:
    """Raises ValueError when `text` is no record. Runs ask for a record several times: equal texts are parsed once."""
    value = json.loads(text)
    if not isinstance(value, dict) or set(value) != {"fingerprint", "pair", "folds", "files"}:
        raise ValueError("no record")
    fingerprint, folds, files = value["fingerprint"], value["folds"], value["files"]
    if not (isinstance(fingerprint, str | None) and isinstance(folds, list) and isinstance(files, dict)):
        raise ValueError("no record")
    if not set(files) <= {"predictions", "representations"}:
        raise ValueError("no record")
    pair = row_from_json(PairRow, value["pair"])
    if (pair.status is Status.FAILED) is not (fingerprint is None):
        raise ValueError("a failure has no fingerprint, all else has one")
    return PairRecord(fingerprint, pair, tuple(row_from_json(FoldRow, row) for row in folds), files)


def store_pair(
    results: ResultsFolder, result: PairResult, *, fingerprint: str, patients: Sequence[str], seconds: float
) -> PairRecord:
    """Write predictions, representations and then the record of a pair; returns the record.

    Only the record waits for the disk: of a pair whose other files a power failure has taken, it is not whole.
    """
    source, target = result.pair.source, result.pair.target
    files = {}
    if result.predictions is not None:
        path = results.predictions_path(source, target)
        PREDICTIONS.write(path, result.predictions, durable=False)
        files["predictions"] = content_digest(path)
    if result.representation is not None:
        path = results.representations_path(source, target)
        with atomic_path(path, durable=False) as temporary:
            # float16 halves 4 GB a study; a bag vector's entries are means of activations, of order 1.
            vectors = torch.from_numpy(result.representation).clamp(-65504, 65504).half()
            save_file({"representation": vectors}, temporary, metadata={"patients": json.dumps(list(patients))})
        files["representations"] = content_digest(path)
    record = PairRecord(fingerprint, replace(result.pair, seconds=seconds), result.folds, files)
    _write(results, record)
    return record


def store_failure(results: ResultsFolder, source: str, target: str, reason: str) -> None:
    """Record that a pair could not be measured, and why. It counts as not done, so the next run tries it again."""
    mode = mode_of(source, target)
    pair = PairRow(source, target, results.encoder, results.architecture, mode, status=Status.FAILED, reason=reason)
    _write(results, PairRecord(None, pair, ()))


def _write(results: ResultsFolder, record: PairRecord) -> None:
    content = {
        "fingerprint": record.fingerprint,
        "pair": vars(record.pair),
        "folds": [vars(row) for row in record.folds],
        "files": dict(record.files),
    }
    write_json(results.record_path(record.pair.source, record.pair.target), content)
