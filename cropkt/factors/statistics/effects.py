"""Which factors go with the C-index: each alone, by permutation tests, false discoveries controlled over all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cropkt.factors.catalogue import (
    COHORT_FACTORS,
    JOINT,
    JOINT_WITH_MODELS,
    PAIR_FACTORS,
    USES_TARGET_OUTCOMES,
    label_of,
)
from cropkt.factors.facts.tables import matrix_of
from cropkt.factors.statistics.mixed import MixedFit
from cropkt.factors.statistics.permutation import (
    PERMUTATIONS,
    PermutationTest,
    cohort_effects,
    permute_cohort_factor,
    permute_pair_factor,
)
from cropkt.factors.statistics.regression import (
    Errors,
    mixed_table,
    ols_table,
    shared_and_own,
    usable,
    with_cohort_facts,
)
from cropkt.seeds import generator
from cropkt.transfer.significance import q_values

OUTCOME = "c_index_pooled"
IRRELEVANT = ("irrelevant_pair", "irrelevant_cohort")


@dataclass(frozen=True)
class FactorRow:
    """A factor alone. coefficient, standard_error and the 95 % interval are the mixed model's; explained is the share
    of the outcome's variance; p_value is the strictest permutation's."""

    factor: str
    label: str
    level: str
    """pair, source or target: whose fact it is."""
    needs: str
    coefficient: float
    standard_error: float
    lower: float
    upper: float
    explained: float
    p_ols: float
    p_mixed: float
    p_qap: float
    p_value: float
    uses_target_outcomes: bool


@dataclass(frozen=True)
class JointRow:
    """A factor with the others of its model held fixed; numbers as in FactorRow."""

    model: str
    factor: str
    label: str
    coefficient: float
    standard_error: float
    lower: float
    upper: float
    p_mixed: float
    p_qap: float
    p_value: float
    uses_target_outcomes: bool


def variance_table(pairs: pd.DataFrame, errors: Errors) -> tuple[pd.DataFrame, MixedFit]:
    """How much of the C-index's variance between cohorts is the source's, the target's, the pair's, and chance's.

    Chance has two parts: what a target's patients do to all of its cells alike, and what they do to a single cell.
    """
    _, fit = mixed_table(pairs, OUTCOME, [], errors)
    rows, _ = usable(pairs, OUTCOME, [])
    shared, own = shared_and_own(errors, rows)
    chance = {
        "chance, shared by a target's cells": float(shared.loc[rows["target"]].mean()),
        "chance, of one cell": float(own.loc[rows["target"]].mean()),
    }
    parts = fit.variance | chance
    total = sum(parts.values())
    table = [{"part": name, "variance": value, "share": value / total} for name, value in parts.items()]
    return pd.DataFrame(table), fit


def factor_names(pairs: pd.DataFrame, cohorts: pd.DataFrame) -> list[str]:
    """All factors that are tested: of the pair, then `source:` and `target:` cohort facts, IRRELEVANT among them."""
    of_pair = [factor.name for factor in PAIR_FACTORS] + [name for name in IRRELEVANT[:1] if name in pairs]
    facts = [factor.name for factor in COHORT_FACTORS] + [name for name in IRRELEVANT[1:] if name in cohorts]
    return of_pair + [f"{side}:{fact}" for side in ("source", "target") for fact in facts]


def factor_table(
    pairs: pd.DataFrame,
    cohorts: pd.DataFrame,
    null: MixedFit,
    errors: Errors,
    names: Sequence[str],
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    circular: Collection[str] = USES_TARGET_OUTCOMES,
) -> pd.DataFrame:
    """One row a factor that varies: coefficient of the mixed model; p-values of least squares, mixed model, QAP and the
    strictest permutation; `uses_target_outcomes` for those in `circular`; and q over all other rows, NaN for them."""
    codes = list(cohorts["cohort"])
    outcome, weight, effects = _effects(pairs, codes, null, errors)
    needs = {factor.name: factor.needs for factor in (*PAIR_FACTORS, *COHORT_FACTORS)}
    facts = dict.fromkeys(name.partition(":")[2] for name in names if ":" in name)
    both = with_cohort_facts(pairs, cohorts, list(facts))
    rows = []
    for name in names:
        side, _, bare = name.rpartition(":")
        if usable(both, OUTCOME, [name])[1] != [name]:
            continue
        random = generator(seed, "factors", "permutation", name)
        if side:
            effect, of_effect = effects[side]
            found = permute_cohort_factor(
                effect, cohorts[bare].to_numpy(dtype=float), [], of_effect, random, permutations
            )
        else:
            found = permute_pair_factor(outcome, matrix_of(pairs, name, codes), [], weight, random, permutations)
        fits = {"ols": ols_table(both, OUTCOME, [name]), "mixed": mixed_table(both, OUTCOME, [name], errors)[0]}
        about = (side or "pair", needs.get(bare, "features"))
        rows.append(_row(name, about, fits, found, circular=name in circular))
    table = pd.DataFrame(rows)
    return table.assign(q_value=family_q_values(table)).sort_values(["level", "p_value"], kind="stable")


def joint_table(
    pairs: pd.DataFrame,
    cohorts: pd.DataFrame,
    null: MixedFit,
    errors: Errors,
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    circular: Collection[str] = USES_TARGET_OUTCOMES,
) -> pd.DataFrame:
    """A few factors of the pair together, each with the others held fixed; without and with those of the models.

    `uses_target_outcomes` and q_value as in `factor_table`; each of the two models is a family.
    """
    codes = list(cohorts["cohort"])
    outcome, weight, _ = _effects(pairs, codes, null, errors)
    tables = []
    for which, wanted in (("before training", JOINT), ("with models", JOINT_WITH_MODELS)):
        rows, names = usable(pairs, OUTCOME, wanted)
        fit = mixed_table(rows, OUTCOME, names, errors)[0]
        matrices = {name: matrix_of(pairs, name, codes) for name in names}
        for name in names:
            others = [matrix for other, matrix in matrices.items() if other != name]
            random = generator(seed, "factors", "joint permutation", which, name)
            found = permute_pair_factor(outcome, matrices[name], others, weight, random, permutations)
            of_name = _fitted(fit, name)
            tables.append(
                JointRow(
                    which,
                    name,
                    label_of(name),
                    coefficient=of_name["coefficient"],
                    standard_error=of_name["standard_error"],
                    lower=of_name["lower"],
                    upper=of_name["upper"],
                    p_mixed=of_name["p_value"],
                    p_qap=found.p_qap,
                    p_value=found.p_value,
                    uses_target_outcomes=name in circular,
                )
            )
    table = pd.DataFrame(tables)
    families = [pd.Series(family_q_values(family), family.index) for _, family in table.groupby("model", sort=False)]
    return table.assign(q_value=pd.concat(families))


def irrelevant_factors(codes: Sequence[str], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two negative controls drawn at random: `irrelevant_cohort` by cohort, `irrelevant_pair` by pair of cohorts.

    The second is a distance between random places, so it has the structure that a real distance has.
    """
    random = generator(seed, "factors", "irrelevant")
    place = random.standard_normal((len(codes), 2))
    source, target = np.nonzero(~np.eye(len(codes), dtype=bool))
    names = np.array(codes)
    distance = np.linalg.norm(place[source] - place[target], axis=1)
    pairs = pd.DataFrame({"source": names[source], "target": names[target], "irrelevant_pair": distance})
    return pd.DataFrame({"cohort": names, "irrelevant_cohort": random.standard_normal(len(codes))}), pairs


def _effects(
    pairs: pd.DataFrame, codes: Sequence[str], null: MixedFit, errors: Errors
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """C-indices and weights (C, C), and each side's effects (C,) with their weights.

    What a target's cells err together is its effect's error, not theirs.
    """
    outcome = matrix_of(pairs, OUTCOME, codes)
    shared, own = shared_and_own(errors, usable(pairs, OUTCOME, [])[0])
    of_cell = 1 / (own.reindex(list(codes)).to_numpy() + null.variance["pair"])
    weight = np.where(np.isfinite(outcome), of_cell, 0.0)
    source, target = cohort_effects(outcome, weight)
    of_target = 1 / (shared.clip(lower=0).reindex(list(codes)).to_numpy() + null.variance["target"] + 1e-6)
    return outcome, weight, {"source": (source, np.ones(len(codes))), "target": (target, of_target)}


def _row(
    name: str, about: tuple[str, str], fits: dict[str, pd.DataFrame], found: PermutationTest, *, circular: bool
) -> FactorRow:
    """The row of factor `name`, at `about` (level, needs)."""
    mixed = _fitted(fits["mixed"], name)
    return FactorRow(
        name,
        label_of(name),
        *about,
        coefficient=mixed["coefficient"],
        standard_error=mixed["standard_error"],
        lower=mixed["lower"],
        upper=mixed["upper"],
        explained=found.explained,
        p_ols=_fitted(fits["ols"], name)["p_value"],
        p_mixed=mixed["p_value"],
        p_qap=found.p_qap,
        p_value=found.p_value,
        uses_target_outcomes=circular,
    )


def _fitted(fit: pd.DataFrame, name: str) -> dict[str, float]:
    """The numbers of factor `name` in a table of fits."""
    (row,) = fit[fit["factor"] == name].to_dict("records")
    return {str(column): value for column, value in row.items() if column != "factor"}


def family_q_values(table: pd.DataFrame) -> np.ndarray:
    """q over the rows of `table` (columns p_value, uses_target_outcomes) that do not use the target's outcomes."""
    return q_values(table["p_value"].where(~table["uses_target_outcomes"].astype(bool)))
