"""Do the tests hold what they promise? Their size where nothing transfers, and what they find where something does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cropkt.factors.statistics.effects import (
    IRRELEVANT,
    OUTCOME,
    factor_table,
    family_q_values,
    irrelevant_factors,
    variance_table,
)
from cropkt.factors.statistics.regression import Errors
from cropkt.simulation.matrix import MatrixDesign, SimulatedMatrix, simulate_matrix

PERMUTATIONS = 199
LEVEL = 0.05
DESIGNS = {
    "no transfer": MatrixDesign(cohorts=16, transfer=False),
    "no transfer, sources in a place weigh alike": MatrixDesign(cohorts=16, transfer=False, alike=True),
}
PLANTED_DESIGN = MatrixDesign()
TESTS = {"least squares": "p_ols", "mixed model": "p_mixed", "QAP": "p_qap", "strictest permutation": "p_value"}
PLANTED = ("same_group", "distance", "source:learnt")
UNPLANTED = ("irrelevant_pair", "source:irrelevant_source")


def size_table(matrices: int, seed: int) -> pd.DataFrame:
    """Share of matrices without transfer in which each test at 5 % finds a factor; 5 % is right. One row a design and
    factor; standard_error is that of a share of 5 %."""
    rows = []
    for title, design in DESIGNS.items():
        names = ["distance", "irrelevant_pair"]
        tables = pd.concat([_tested(simulate_matrix(design, seed + number), names) for number in range(matrices)])
        for factor, found in tables.groupby("factor"):
            shares = {name: float((found[column] < LEVEL).mean()) for name, column in TESTS.items()}
            error = float(np.sqrt(LEVEL * (1 - LEVEL) / matrices))
            rows.append({"matrices": title, "factor": factor, **shares, "standard_error": error})
    return pd.DataFrame(rows)


def power_table(
    seeds: int, seed: int, design: MatrixDesign = PLANTED_DESIGN, permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """In how many of `seeds` matrices of `design` each factor is found, and with which sign, at q < 5 %."""
    names = [*PLANTED, *UNPLANTED]
    tables = [_tested(simulate_matrix(design, seed + number), names, permutations) for number in range(seeds)]
    return _found(pd.concat(tables), names).assign(planted=lambda table: table["factor"].isin(PLANTED))


def control_table(
    pairs: pd.DataFrame, cohorts: pd.DataFrame, errors: Errors, factors: pd.DataFrame, seeds: int, seed: int
) -> pd.DataFrame:
    """In how many of `seeds` draws a measured matrix's irrelevant factors are found, beside the real factors.

    factors: regression_factors.csv of the matrix; its real factors keep their p-values, and q is over all.
    """
    real = factors[~factors["factor"].str.contains("irrelevant")]
    drawn_names = [IRRELEVANT[0], *(f"{side}:{IRRELEVANT[1]}" for side in ("source", "target"))]
    _, null = variance_table(pairs, errors)
    tables = []
    for number in range(seeds):
        of_cohorts, of_pairs = irrelevant_factors(list(cohorts["cohort"]), seed + number)
        with_pairs, with_cohorts = (
            pairs.merge(of_pairs, on=["source", "target"]),
            cohorts.merge(of_cohorts, on="cohort"),
        )
        drawn = factor_table(with_pairs, with_cohorts, null, errors, drawn_names, seed=seed + number, permutations=999)
        both = pd.concat([real, drawn], ignore_index=True)
        tables.append(both.assign(q_value=family_q_values(both)))
    return _found(pd.concat(tables), [*real["factor"], *drawn_names])


def tables_of(matrix: SimulatedMatrix) -> tuple[pd.DataFrame, pd.DataFrame, Errors]:
    """A simulated matrix as the tables that a measured one comes in: pairs, cohorts, and errors by target."""
    count = len(matrix.c_index)
    codes = np.array([f"c{number:02d}" for number in range(count)])
    source, target = np.nonzero(~np.eye(count, dtype=bool))
    columns = {name: values[source, target] for name, values in matrix.factors.items()}
    pairs = pd.DataFrame(
        {"source": codes[source], "target": codes[target], OUTCOME: matrix.c_index[source, target], **columns}
    )
    cohorts = pd.DataFrame({"cohort": codes, **matrix.cohort_factors})
    errors = {str(codes[t]): pd.DataFrame(matrix.covariance[t], codes, codes) for t in range(count)}
    return pairs, cohorts, errors


def _tested(matrix: SimulatedMatrix, names: Sequence[str], permutations: int = PERMUTATIONS) -> pd.DataFrame:
    pairs, cohorts, errors = tables_of(matrix)
    _, null = variance_table(pairs, errors)
    return factor_table(pairs, cohorts, null, errors, names, permutations=permutations)


def _found(tables: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name in dict.fromkeys(names):
        of_factor = tables[tables["factor"] == name]
        found = of_factor[of_factor["q_value"] < LEVEL]
        rows.append(
            {
                "factor": name,
                "draws": len(of_factor),
                "found": len(found),
                "found_positive": int((found["coefficient"] > 0).sum()),
                "mean_coefficient": of_factor["coefficient"].mean(),
                "median_p": of_factor["p_value"].median(),
            }
        )
    return pd.DataFrame(rows)
