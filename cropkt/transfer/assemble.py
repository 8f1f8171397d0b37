"""The tables people read, assembled from the records of all pairs: transfer, pairs, source choice, matrix."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from cropkt.cohorts import COHORTS
from cropkt.data.folds import Fold
from cropkt.files import atomic_path, digest, write_json
from cropkt.transfer.agreement import architecture_agreement
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.significance import COMPARED, TargetPredictions, collect_predictions, compare, judge
from cropkt.transfer.source_choice import choose_sources
from cropkt.transfer.store import ResultsFolder, read_comparisons, read_json, read_records

CHOICE_COLUMNS = [
    "target",
    "encoder",
    "architecture",
    "method",
    "sources",
    "c_index_mean",
    "c_index_pooled",
    "standard_error",
    "interval_lower",
    "interval_upper",
    "n_events",
    "gap_to_oracle",
    "difference_self",
    "p_self",
]
COMPARISON_VERSION = 2
"""Raised when the code changes what a comparison of the same predictions says."""
FOLD_COLUMNS = [
    "source",
    "target",
    "source_fold",
    "target_fold",
    "encoder",
    "architecture",
    "mode",
    "c_index",
    "standard_error",
    "n_patients",
    "n_events",
    "n_comparable",
    "status",
]
PAIR_COLUMNS = [
    "source",
    "target",
    "encoder",
    "architecture",
    "mode",
    "c_index_mean",
    "c_index_mean_standard_error",
    "c_index_pooled",
    "standard_error",
    "interval_lower",
    "interval_upper",
    "p_chance",
    "q_chance",
    *(f"{kind}_{name}" for name in COMPARED for kind in ("difference", "p", "q")),
    "verdict",
    "n_patients",
    "n_events",
    "n_comparable",
    "folds_used",
    "skipped_slides",
    "seconds",
    "status",
]

_MEASURES = ("c_index", "standard_error", "interval_", "difference_", "p_", "q_")


def fold_table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per source, target, source fold and target fold (transfer.parquet)."""
    rows = [row for record in records for row in record["folds"]]
    return _ordered(_frame(rows, FOLD_COLUMNS), ["source_fold", "target_fold"])


def pair_table(records: Iterable[dict[str, Any]], comparisons: Iterable[dict[str, Any]] = ()) -> pd.DataFrame:
    """One row a pair and one a baseline and target (pairs.parquet), with q-values and verdicts (significance.py).

    `comparisons` are the stored ones (`update_comparison`); without them only chance is compared with.
    """
    table = _frame([record["pair"] for record in records], PAIR_COLUMNS)
    rows = [row for comparison in comparisons for row in comparison["pairs"]]
    if rows:
        keys = ["encoder", "architecture", "source", "target"]
        compared = table[keys].merge(pd.DataFrame(rows), on=keys, how="left").set_index(table.index)
        table = table.assign(**compared.drop(columns=keys))
    return _ordered(judge(table)[PAIR_COLUMNS], [])


def choice_table(comparisons: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row a target and way to choose sources (source_choice.parquet)."""
    rows = [row for comparison in comparisons for row in comparison["choice"]]
    return pd.DataFrame(rows, columns=list(CHOICE_COLUMNS))


def read_predictions(folder: ResultsFolder, target: str, sources: Sequence[str]) -> TargetPredictions | None:
    """What those of `sources` (and baselines) that have predictions say of `target`; None when none has."""
    columns = ["patient_id", "time", "event", "source_fold", "target_fold", "risk"]
    paths = {source: folder.predictions_path(source, target) for source in sources}
    tables = {source: pd.read_parquet(path, columns=columns) for source, path in paths.items() if path.exists()}
    return collect_predictions(target, tables) if tables else None


def update_comparison(folder: ResultsFolder, target: str, folds: Sequence[Fold]) -> None:
    """Compare the measured sources of `target` with its baselines and with each other, and store what comes out.

    `folds` are the target's. Nothing is done when nothing has been measured since the last time.
    """
    records = read_records(folder.out, folder.encoder, folder.architecture, target)
    measured = {record["pair"]["source"]: record["fingerprint"] for record in records if record["fingerprint"]}
    fingerprint = digest(COMPARISON_VERSION, measured)
    path = folder.comparison_path(target)
    if (read_json(path) or {}).get("fingerprint") == fingerprint:
        return
    predictions = read_predictions(folder, target, list(measured))
    if predictions is None:
        return
    candidates = [source for source in predictions.risk if mode_of(source, target) == "transfer"]
    which = {"encoder": folder.encoder, "architecture": folder.architecture}
    content = {
        "fingerprint": fingerprint,
        "pairs": [{**which, **row} for row in compare(predictions)],
        "choice": [{**which, **row} for row in choose_sources(predictions, candidates, folds)],
    }
    write_json(path, content)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Rows as a table. A measure that is null in every row, as where no patient has an event, is still a number."""
    table = pd.DataFrame(rows, columns=list(columns))
    return table.astype({name: float for name in columns if name.startswith(_MEASURES)})


def _ordered(table: pd.DataFrame, then: list[str]) -> pd.DataFrame:
    rank = {code: number for number, code in enumerate(COHORTS)}
    keys = table.assign(
        _target=table["target"].map(lambda code: (rank.get(code, len(rank)), code)),
        _source=table["source"].map(lambda code: (rank.get(code, len(rank)), code)),
        _baseline=~table["mode"].isin(["self", "transfer"]),
    )
    by = ["encoder", "architecture", "_target", "_baseline", "_source", *then]
    return keys.sort_values(by, kind="stable").drop(columns=["_target", "_baseline", "_source"]).reset_index(drop=True)


def matrix(pairs: pd.DataFrame, value: str = "c_index_mean") -> pd.DataFrame:
    """Rows = sources, columns = targets, in registry order; NaN where a pair is unknown. Baselines are not in it."""
    pairs = pairs[pairs["mode"].isin(["self", "transfer"])]
    codes = sorted(set(pairs["source"]) | set(pairs["target"]), key=_registry_order)
    wide = pairs.pivot(index="source", columns="target", values=value)
    return wide.reindex(index=codes, columns=codes).astype(float)


def _registry_order(code: str) -> tuple[int, str]:
    return (list(COHORTS).index(code) if code in COHORTS else len(COHORTS), code)


def write_tables(folder: ResultsFolder) -> pd.DataFrame:
    """Assemble the tables in parquet, transfer_matrix.csv and architecture_agreement.csv; returns the pairs.

    The tables hold every encoder and architecture measured, the matrix (mean C-index over folds, as published) those
    of `folder`.
    """
    records = read_records(folder.out)
    comparisons = read_comparisons(folder.out)
    pairs = pair_table(records, comparisons)
    tables = {"transfer": fold_table(records), "pairs": pairs, "source_choice": choice_table(comparisons)}
    for name, table in tables.items():
        with atomic_path(folder.out / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    ours = pairs[(pairs["encoder"] == folder.encoder) & (pairs["architecture"] == folder.architecture)]
    with atomic_path(folder.out / "transfer_matrix.csv") as temporary:
        matrix(ours).to_csv(temporary, float_format="%.6f")
    with atomic_path(folder.out / "architecture_agreement.csv") as temporary:
        architecture_agreement(pairs).to_csv(temporary, index=False, float_format="%.6f")
    return pairs
