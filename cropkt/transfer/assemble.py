"""The tables people read, assembled from the records that are true today: transfer, pairs, source choice, matrix."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cropkt.cohorts import in_registry_order
from cropkt.data.patients.folds import Fold
from cropkt.files import atomic_path, digest, read_json, write_json
from cropkt.transfer.columns import row_from_json
from cropkt.transfer.current import (
    NOT_REMEMBERED,
    Current,
    Expected,
    all_results,
    current_records,
    remember,
    remembered,
)
from cropkt.transfer.judgement.agreement import architecture_agreement
from cropkt.transfer.judgement.confounders import Gain, gains_beyond_clinical
from cropkt.transfer.judgement.repeats import Repeat, repeated_predictions, repeated_rows
from cropkt.transfer.judgement.verdicts import judge, judge_methods
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.rows import (
    CHOICE,
    FOLDS,
    PAIRS,
    REPEATS,
    STALE,
    TRAINING_TOO,
    Kind,
    MethodRow,
    RepeatedRow,
    StaleRow,
)
from cropkt.transfer.significance import Comparison, compare, sources_beyond_cohorts, trained_on_target
from cropkt.transfer.source_choice import choose_sources
from cropkt.transfer.store import BETWEEN_AND_WITHIN, PairRecord, ResultsFolder

COMPARISON_VERSION = 7
"""Raised when the code changes what a comparison of the same predictions says."""


@dataclass(frozen=True)
class TargetComparison:
    """What the sources of one target were found to be worth.

    fingerprint, repeats: digests of what it was made from, the target's records and those of its repeats.
    """

    fingerprint: str
    repeats: str
    pairs: tuple[Comparison, ...]
    choice: tuple[MethodRow, ...]
    gains: tuple[Gain, ...]
    own: tuple[RepeatedRow, ...]


@dataclass(frozen=True)
class Tables:
    """The tables of a results folder, every encoder and architecture in them; `stale` is left out of all others."""

    pairs: pd.DataFrame
    folds: pd.DataFrame
    choice: pd.DataFrame
    repeats: pd.DataFrame
    stale: pd.DataFrame


def fold_table(records: Iterable[PairRecord]) -> pd.DataFrame:
    """One row per source, target, source fold and target fold (transfer.parquet)."""
    return _ordered(
        FOLDS.frame(vars(row) for record in records for row in record.folds), ["source_fold", "target_fold"]
    )


def pair_table(records: Iterable[PairRecord], comparisons: Mapping[Kind, Sequence[TargetComparison]]) -> pd.DataFrame:
    """One row per pair and one per baseline and target (pairs.parquet), with q-values and verdicts (judgement/).

    Where there are no `comparisons`, only chance is compared with.
    """
    compared: dict[tuple[Kind, str, str], dict[str, float | str]] = {}
    for kind, found in comparisons.items():
        for one in (row for of_target in found for row in of_target.pairs):
            row = compared.setdefault((kind, one.source, one.target), {})
            row |= {f"difference_{one.against}": one.difference, f"p_{one.against}": one.p_value}
            if one.against in trained_on_target():
                row[f"repeats_{one.against}"] = one.repeats
        for gain in (row for of_target in found for row in of_target.gains):
            row = compared.setdefault((kind, gain.source, gain.target), {})
            row |= {"hazard_ratio_beyond_clinical": gain.hazard_ratio, "p_beyond_clinical": gain.p_value}
        for own in (row for of_target in found for row in of_target.own if row.repeats > 1):
            source = own.target if own.model == "self" else own.model
            compared.setdefault((kind, source, own.target), {}).update(_over_repeats(own))
    pairs = [record.pair for record in records]
    kinds = [Kind(pair.encoder, pair.architecture) for pair in pairs]
    rows = [
        {**vars(pair), **compared.get((kind, pair.source, pair.target), {})}
        for kind, pair in zip(kinds, pairs, strict=True)
    ]
    return _ordered(judge(PAIRS.frame(rows))[PAIRS.names], [])


def _over_repeats(own: RepeatedRow) -> dict[str, float | str]:
    """What several cross-validations say of a row that was measured in the first of them."""
    return {
        "c_index_pooled": own.c_index,
        "standard_error": own.standard_error,
        "interval_lower": own.interval_lower,
        "interval_upper": own.interval_upper,
        "p_chance": own.p_chance,
        "error_covers": TRAINING_TOO,
    }


def choice_table(choices: Mapping[Kind, Sequence[MethodRow]]) -> pd.DataFrame:
    """One row per target and way to choose sources (source_choice.parquet)."""
    rows = ({**vars(kind), **vars(row)} for kind, of_kind in choices.items() for row in of_kind)
    return judge_methods(CHOICE.frame(rows))


def repeats_table(comparisons: Mapping[Kind, Sequence[TargetComparison]]) -> pd.DataFrame:
    """One row per target and model that was trained on it (repeats.parquet)."""
    rows = ((kind, row) for kind, found in comparisons.items() for of_target in found for row in of_target.own)
    return REPEATS.frame({**vars(kind), **vars(row)} for kind, row in rows)


def update_comparison(
    results: ResultsFolder, target: str, splits: Sequence[Fold], expected: Expected, repeats: Sequence[Repeat] = ()
) -> None:
    """Compare the sources of `target` that are current with its baselines and with each other, and store it.

    `splits` are the target's; `repeats` are further cross-validations of its own models, as far as they have results.
    Nothing is done when nothing has been measured since the last time.
    """
    measured = _measured(current_records(results, expected, target).records)
    fingerprint, of_repeats = _fingerprint(measured), _of_repeats(repeats, target)
    known = read_comparison(results, target)
    if known is not None and (known.fingerprint, known.repeats) == (fingerprint, of_repeats):
        return
    predictions = results.predictions(target, list(measured))
    if predictions is None:
        return
    candidates = [source for source in predictions.risk if mode_of(source, target) == "transfer"]
    repeated = repeated_predictions(predictions, repeats)
    compared = compare(predictions, [of for of, _ in repeated])
    content = {
        "fingerprint": fingerprint,
        "repeats": of_repeats,
        "pairs": [vars(row) for row in compared],
        "choice": [vars(row) for row in choose_sources(predictions, candidates, splits, repeated)],
        "gains": [vars(row) for row in gains_beyond_clinical(predictions)],
        "own": [vars(row) for row in repeated_rows([predictions, *(of for of, _ in repeated)], compared)],
    }
    write_json(results.comparison_path(target), content)


def read_comparison(results: ResultsFolder, target: str) -> TargetComparison | None:
    """The stored comparison of a target, or None when it is missing or damaged: it is made again."""
    content = read_json(results.comparison_path(target)) or {}
    try:
        pairs = tuple(row_from_json(Comparison, row) for row in content["pairs"])
        choice = tuple(row_from_json(MethodRow, row) for row in content["choice"])
        gains = tuple(row_from_json(Gain, row) for row in content["gains"])
        own = tuple(row_from_json(RepeatedRow, row) for row in content["own"])
        return TargetComparison(str(content["fingerprint"]), str(content["repeats"]), pairs, choice, gains, own)
    except (KeyError, TypeError, ValueError):
        return None


def _measured(records: Iterable[PairRecord]) -> dict[str, str]:
    """Of one target's records that are no failures, by source: fingerprint and digest of what was predicted.

    The fingerprint alone does not tell whether slides were missing (pair.passing_slides).
    """
    return {
        record.pair.source: f"{record.fingerprint} {record.files.get('predictions')}"
        for record in records
        if record.fingerprint is not None
    }


def _fingerprint(measured: Mapping[str, str]) -> str:
    return digest(COMPARISON_VERSION, measured)


def _of_repeats(repeats: Sequence[Repeat], target: str) -> str:
    """Changes with what the repeats have measured of the target."""
    measured = [_measured(repeat.records(target)) for repeat in repeats]
    return digest([found for found in measured if found])


def _current_comparisons(
    results: ResultsFolder, current: Current, repeats: Sequence[Repeat] | None
) -> list[TargetComparison]:
    """Comparisons that were made from the current records, all of them and nothing else.

    Where nobody knows what the repeats should be (None), those that the comparison was made with are believed.
    """
    of_target: dict[str, list[PairRecord]] = {}
    for record in current.records:
        of_target.setdefault(record.pair.target, []).append(record)
    found = []
    for target, records in of_target.items():
        comparison = read_comparison(results, target)
        if comparison is None or comparison.fingerprint != _fingerprint(_measured(records)):
            continue
        if repeats is None or comparison.repeats == _of_repeats(repeats, target):
            found.append(comparison)
    return found


def _ordered(table: pd.DataFrame, then: list[str]) -> pd.DataFrame:
    codes = sorted({*table["target"], *table["source"]})
    rank = {code: number for number, code in enumerate(in_registry_order(codes))}
    keys = table.assign(
        _target=table["target"].map(rank),
        _source=table["source"].map(rank),
        _baseline=~table["mode"].isin(BETWEEN_AND_WITHIN),
    )
    by = ["encoder", "architecture", "_target", "_baseline", "_source", *then]
    return keys.sort_values(by, kind="stable").drop(columns=["_target", "_baseline", "_source"]).reset_index(drop=True)


def matrix(pairs: pd.DataFrame, value: str = "c_index_mean") -> pd.DataFrame:
    """Rows = sources, columns = targets, in registry order; NaN where a pair is unknown. Baselines are not in it.

    Sources that are no cohort are the last rows, where `pairs` (rows.PAIRS) has any.
    """
    further = pairs[pairs["mode"].isin(sources_beyond_cohorts())]
    pairs = pairs[pairs["mode"].isin(BETWEEN_AND_WITHIN)]
    codes = in_registry_order(sorted({*pairs["source"], *pairs["target"]}))
    wide = pd.concat([pairs, further]).pivot(index="source", columns="target", values=value)
    return wide.reindex(index=[*codes, *sorted(set(further["source"]))], columns=list(codes)).astype(float)


def assemble(results: ResultsFolder, expected: Expected, repeats: Sequence[Repeat] = ()) -> Tables:
    """The tables of the records that are true today: `expected` and `repeats` say so for those of `results`, and of
    each other encoder and architecture its last run (current.py)."""
    records: list[PairRecord] = []
    stale: list[StaleRow] = []
    compared: dict[Kind, list[TargetComparison]] = {}
    choices: dict[Kind, list[MethodRow]] = {}
    for each in all_results(results.out):
        if each == results:
            current = current_records(each, expected)
            remember(each, current)
        else:
            current = current_records(each, remembered(each), unknown=NOT_REMEMBERED)
        records += current.records
        stale += current.stale
        kind = Kind(each.encoder, each.architecture)
        comparisons = _current_comparisons(each, current, repeats if each == results else None)
        compared[kind] = comparisons
        choices[kind] = [row for comparison in comparisons for row in comparison.choice]
    return Tables(
        pair_table(records, compared),
        fold_table(records),
        choice_table(choices),
        repeats_table(compared),
        STALE.frame(vars(row) for row in stale),
    )


def write_tables(results: ResultsFolder, expected: Expected, repeats: Sequence[Repeat] = ()) -> Tables:
    """Write the tables of `assemble`, transfer_matrix.csv, architecture_agreement.csv and stale.csv; returns them.

    The tables hold every encoder and architecture measured, the matrix (mean C-index over folds, as published) those
    of `results`.
    """
    out, tables = results.out, assemble(results, expected, repeats)
    FOLDS.write(out / FOLDS.path, tables.folds)
    PAIRS.write(out / PAIRS.path, tables.pairs)
    CHOICE.write(out / CHOICE.path, tables.choice)
    REPEATS.write(out / REPEATS.path, tables.repeats)
    _write_csv(out / STALE.path, tables.stale)
    _write_csv(out / "transfer_matrix.csv", matrix(pd.concat([results.pairs(), results.baselines()])), index=True)
    _write_csv(out / "architecture_agreement.csv", architecture_agreement(tables.pairs))
    return tables


def _write_csv(path: Path, table: pd.DataFrame, *, index: bool = False) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=index, float_format="%.6f")


def stale_message(tables: Tables) -> str:
    """One line on the records that no table holds; "" where there is none."""
    if tables.stale.empty:
        return ""
    reasons = Counter(tables.stale["why"]).most_common()
    counted = "; ".join(f"{count}: {why}" for why, count in reasons)
    return f"{len(tables.stale)} records are in no table ({counted}); {STALE.path} lists them"
