"""Agreement of architectures: known correlations, and intervals that know how few cohorts there are."""

import numpy as np
import pandas as pd
import pytest

from cropkt.transfer.judgement.agreement import architecture_agreement


def table(matrices: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for architecture, matrix in matrices.items():
        for (source, target), value in np.ndenumerate(matrix):
            mode = "self" if source == target else "transfer"
            rows.append((f"c{source}", f"c{target}", "e", architecture, mode, value))
    return pd.DataFrame(rows, columns=["source", "target", "encoder", "architecture", "mode", "c_index_pooled"])


def matrices(seed: int, agreement: float, cohorts: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    common = random.normal(size=(cohorts, cohorts)) + random.normal(size=cohorts)[:, None]
    noise = random.normal(size=(2, cohorts, cohorts)) + random.normal(size=(2, cohorts))[:, None, :]
    return {name: agreement * common + (1 - agreement) * noise[i] for i, name in enumerate(("abmil", "mean"))}


def test_the_same_order_is_agreement_of_one_and_the_diagonal_has_no_part() -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 6))
    turned = 3 * matrix + 1
    np.fill_diagonal(turned, -100)
    row = architecture_agreement(table({"abmil": matrix, "mean": turned})).iloc[0]
    assert row["spearman"] == pytest.approx(1)
    assert row["pairs"] == 30


def test_intervals_find_agreement_and_its_absence() -> None:
    row = architecture_agreement(table(matrices(1, 0.7))).iloc[0]
    assert 0 < row["interval_lower"] < row["spearman"] < row["interval_upper"] < 1
    missed = 0
    for seed in range(60):
        row = architecture_agreement(table(matrices(seed, 0.0))).iloc[0]
        missed += not row["interval_lower"] <= 0 <= row["interval_upper"]
    assert missed <= 8


def test_one_architecture_or_too_few_cohorts() -> None:
    assert architecture_agreement(table({"abmil": np.eye(5)})).empty
    row = architecture_agreement(table(matrices(0, 0.5, cohorts=3))).iloc[0]
    assert np.isnan(row["interval_lower"])
    assert row["pairs"] == 6
