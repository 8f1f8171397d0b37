"""The result tables as the report needs them: one row for each pair of cohorts, measured or not, with its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cropkt.cohorts import in_registry_order
from cropkt.errors import InputError
from cropkt.transfer.columns import read_table
from cropkt.transfer.judgement.names import Verdict
from cropkt.transfer.rows import CHOICE, FOLDS, PAIRS, REPEATS, Status
from cropkt.transfer.significance import compared, sources_beyond_cohorts
from cropkt.transfer.store import ResultsFolder


@dataclass(frozen=True)
class ResultTables:
    """What was measured with one encoder and architecture.

    codes: the cohorts, registry order. pairs: one row for each of codes x codes, indexed by (source, target), `state`
    says what may be concluded: a Verdict, or why there is none. beyond_cohorts: likewise of sources that are no cohort,
    empty where none was measured. baselines: indexed by (target, mode). folds, choice: as stored. judged: whether pairs
    were compared with their start, so that they may be said to transfer. read: the tables as they are on disk.
    """

    codes: tuple[str, ...]
    pairs: pd.DataFrame
    beyond_cohorts: pd.DataFrame
    baselines: pd.DataFrame
    folds: pd.DataFrame
    choice: pd.DataFrame
    judged: bool
    read: Mapping[str, pd.DataFrame]

    def matrix(self, value: str) -> pd.DataFrame:
        """Column `value` as a table, rows = sources, columns = targets; NaN where unknown."""
        return self.pairs[value].unstack("target").reindex(index=self.codes, columns=self.codes)

    def matrix_of_all(self, value: str) -> pd.DataFrame:
        """As `matrix`, with a row below for each source that is no cohort."""
        below = self.beyond_cohorts[value].unstack("target").reindex(columns=self.codes)
        return pd.concat([self.matrix(value), below]) if len(below) else self.matrix(value)

    def relied_on(self) -> pd.DataFrame:
        """The pooled C-indices as `matrix`, NaN also where too few events allow no answer."""
        return self.matrix("c_index_pooled").where(self.matrix("state") != Verdict.CANNOT_TELL).astype(float)

    def measured(self, target: str) -> list[str]:
        """Source cohorts whose pair with `target` is in the tables and has not failed, in registry order."""
        of_target = self.pairs.xs(target, level="target")
        return [str(source) for source in of_target.index[~of_target["state"].isin(["failed", "not measured"])]]


def choose_results(out: Path, encoder: str | None, architecture: str | None) -> ResultsFolder:
    """The one encoder and architecture measured in `out`, of those that are asked for.

    Raises InputError when there is none, or more than one, or pairs.parquet is missing or damaged.
    """
    path = out / PAIRS.path
    if not path.is_file():
        raise InputError(f"{path} is not there; give --out the results folder of a finished sweep_transfer.py")
    kinds = read_table(path, ["encoder", "architecture"])
    if kinds is None:
        raise InputError(f"{path}: not readable; run sweep_transfer.py again, it makes the tables anew")
    found = sorted(set(kinds.itertuples(index=False, name=None)))
    asked = [kind for kind in found if encoder in (None, kind[0]) and architecture in (None, kind[1])]
    if len(asked) != 1:
        listed = "; ".join(f"--encoder {name} --architecture {model}" for name, model in found)
        problem = "several results fit" if asked else "no results fit"
        raise InputError(f"{path}: {problem} what was asked for; there are: {listed}")
    return ResultsFolder(out, *asked[0])


def read_tables(results: ResultsFolder) -> ResultTables:
    """Read the tables of a results folder.

    Raises InputError when pairs.parquet or transfer.parquet is missing or damaged, or has no such pairs.
    """
    measured, baselines = results.pairs(), results.baselines()
    read = {
        "pairs": results.stored_table(PAIRS),
        "transfer": results.stored_table(FOLDS, required=True),
        "source_choice": results.stored_table(CHOICE),
        "repeats": results.stored_table(REPEATS),
    }
    if measured.empty:
        raise InputError(
            f"{results.out / PAIRS.path}: no pair of encoder {results.encoder} and architecture {results.architecture}"
        )
    codes = in_registry_order(sorted({*measured["source"], *measured["target"]}))
    whole = pd.MultiIndex.from_product([codes, codes], names=["source", "target"])
    pairs = measured.drop_duplicates(["source", "target"]).set_index(["source", "target"]).reindex(whole)
    judged = bool(pairs["q_transfers"].notna().any())
    return ResultTables(
        codes,
        pairs.assign(state=_states(pairs)),
        _beyond_cohorts(baselines, codes),
        baselines.drop_duplicates(["target", "mode"]).set_index(["target", "mode"]).sort_index(),
        read["transfer"],
        read["source_choice"],
        judged,
        {name: table for name, table in read.items() if len(table)},
    )


def has_comparison(tables: ResultTables, name: str) -> bool:
    """Whether any pair was compared with `name`, one of significance.compared."""
    return name in compared() and bool(tables.pairs[f"difference_{name}"].notna().any())


def _beyond_cohorts(baselines: pd.DataFrame, codes: Sequence[str]) -> pd.DataFrame:
    """A row for each source that is no cohort and was measured, on each of the targets `codes`."""
    there = baselines[baselines["mode"].isin(sources_beyond_cohorts())]
    whole = pd.MultiIndex.from_product([sorted(set(there["source"])), codes], names=["source", "target"])
    rows = there.drop_duplicates(["source", "target"]).set_index(["source", "target"]).reindex(whole)
    return rows.assign(state=_states(rows))


def _states(pairs: pd.DataFrame) -> pd.Series:
    """A verdict between cohorts, "self" within (or "cannot tell"), "failed" or "not measured" without a record."""
    status = pairs["status"]
    unknown = str(Verdict.CANNOT_TELL)
    states = pairs["verdict"].where(pairs["verdict"].notna(), unknown)
    states = states.mask(pairs["mode"] == "self", np.where(pairs["p_chance"].notna(), "self", unknown))
    return states.mask(status == Status.FAILED, "failed").mask(status.isna(), "not measured")
