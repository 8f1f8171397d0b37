"""The result tables as the report needs them: one encoder and architecture, older folders' missing columns filled."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.cohorts import COHORTS
from cropkt.errors import InputError
from cropkt.transfer.assemble import CHOICE_COLUMNS, FOLD_COLUMNS, PAIR_COLUMNS
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.significance import COMPARED, LEVEL

VERDICTS = ("transfers", "better than chance", "not shown", "worse than chance", "cannot tell")
"""What significance.judge can say of a pair, best first. A pair without a number is "failed" or "not measured"."""
KEYS = ["target", "encoder", "architecture"]
TEXT_COLUMNS = {"mode", "verdict", "status", "method", "sources"}


@dataclass(frozen=True)
class ResultTables:
    """What was measured with one encoder and architecture.

    codes: the cohorts, registry order. pairs: one row for each of codes x codes, indexed by (source, target), `state`
    says what may be concluded. baselines: indexed by (target, mode). folds, choice: as stored. judged: whether pairs
    were compared with the baselines (if not, `state` compares with chance alone). read: the tables as they are on disk.
    """

    codes: tuple[str, ...]
    pairs: pd.DataFrame
    baselines: pd.DataFrame
    folds: pd.DataFrame
    choice: pd.DataFrame
    judged: bool
    read: Mapping[str, pd.DataFrame]

    def matrix(self, value: str) -> pd.DataFrame:
        """Column `value` as a table, rows = sources, columns = targets; NaN where unknown."""
        return self.pairs[value].unstack("target").reindex(index=self.codes, columns=self.codes)


def choose_results(out: Path, encoder: str | None, architecture: str | None) -> tuple[str, str]:
    """The one encoder and architecture measured in `out`, of those that are asked for.

    Raises InputError when there is none, or more than one.
    """
    pairs = _read(out, "pairs", required=True)
    found = sorted(set(zip(pairs["encoder"], pairs["architecture"], strict=True)))
    asked = [pair for pair in found if encoder in (None, pair[0]) and architecture in (None, pair[1])]
    if len(asked) != 1:
        listed = "; ".join(f"--encoder {name} --architecture {model}" for name, model in found)
        problem = "several results fit" if asked else "no results fit"
        raise InputError(f"{out / 'pairs.parquet'}: {problem} what was asked for; there are: {listed}")
    return asked[0]


def read_tables(out: Path, encoder: str, architecture: str) -> ResultTables:
    """Read the tables of a results folder.

    Raises InputError when pairs.parquet or transfer.parquet is missing or damaged, or has no such pairs.
    """
    read = {
        "pairs": _read(out, "pairs", required=True),
        "transfer": _read(out, "transfer", required=True),
        "source_choice": _read(out, "source_choice", required=False),
    }
    read = {name: _of(table, encoder, architecture) for name, table in read.items()}
    every = _with_columns(read["pairs"], PAIR_COLUMNS)
    measured = every[every["mode"].isin(["self", "transfer"])]
    if measured.empty:
        raise InputError(f"{out / 'pairs.parquet'}: no pair of encoder {encoder} and architecture {architecture}")
    codes = _registry_order(set(measured["source"]) | set(measured["target"]))
    whole = pd.MultiIndex.from_product([codes, codes], names=["source", "target"])
    pairs = measured.drop_duplicates(["source", "target"]).set_index(["source", "target"]).reindex(whole)
    judged = bool(pairs["verdict"].notna().any())
    baselines = every[every["mode"].isin(BASELINES)].drop_duplicates(["target", "mode"])
    return ResultTables(
        codes,
        pairs.assign(state=_states(pairs, judged=judged)),
        baselines.set_index(["target", "mode"]).sort_index(),
        _with_columns(read["transfer"], FOLD_COLUMNS),
        _with_columns(read["source_choice"], CHOICE_COLUMNS),
        judged,
        {name: table for name, table in read.items() if len(table)},
    )


def has_comparison(tables: ResultTables, name: str) -> bool:
    """Whether any pair was compared with `name`, one of significance.COMPARED."""
    return name in COMPARED and bool(tables.pairs[f"difference_{name}"].notna().any())


def _states(pairs: pd.DataFrame, *, judged: bool) -> pd.Series:
    """A verdict between cohorts, "self" within (or "cannot tell"), "failed" or "not measured" without a record."""
    status = pairs["status"]
    better = pairs["c_index_pooled"] > 0.5
    told = np.where(pairs["q_chance"] < LEVEL, np.where(better, "better than chance", "worse than chance"), "not shown")
    told = np.where(pairs["q_chance"].isna(), "cannot tell", told)
    states = pairs["verdict"].where(pairs["verdict"].notna(), "cannot tell") if judged else pd.Series(told, pairs.index)
    states = states.mask(pairs["mode"] == "self", np.where(pairs["p_chance"].notna(), "self", "cannot tell"))
    return states.mask(status.astype(str).str.startswith("failed"), "failed").mask(status.isna(), "not measured")


def _registry_order(codes: set[str]) -> tuple[str, ...]:
    rank = {code: number for number, code in enumerate(COHORTS)}
    return tuple(sorted(codes, key=lambda code: (rank.get(code, len(rank)), code)))


def _read(out: Path, name: str, *, required: bool) -> pd.DataFrame:
    path = out / f"{name}.parquet"
    if not path.is_file():
        if required:
            raise InputError(f"{path} is not there; give --out the results folder of a finished sweep_transfer.py")
        return pd.DataFrame()
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise InputError(
            f"{path}: not readable ({error}); run sweep_transfer.py again, it makes the tables anew"
        ) from error


def _of(table: pd.DataFrame, encoder: str, architecture: str) -> pd.DataFrame:
    if table.empty:
        return table
    ours = (table["encoder"] == encoder) & (table["architecture"] == architecture)
    return table[ours].reset_index(drop=True)


def _with_columns(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """`table` with the columns it lacks, empty: an older folder is shown as far as it goes."""
    missing = {name: None if name in TEXT_COLUMNS else np.nan for name in columns if name not in table}
    return table.assign(**missing)
