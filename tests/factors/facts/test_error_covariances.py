"""The errors that regressions know are those of the C-indices they explain."""

from pathlib import Path

import numpy as np
import pytest
from simulated_target import simulated_target

from cropkt.factors.facts.tables import error_covariances
from cropkt.transfer.assemble import write_tables
from cropkt.transfer.pair import Scored, pair_result
from cropkt.transfer.store import ResultsFolder, store_pair


def test_variances_are_the_standard_errors_squared_and_sources_that_agree_err_together(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "simulated", "abmil")
    target, log_risk = simulated_target(80)
    random = np.random.default_rng(0)
    shared = 0.5 * log_risk + random.normal(size=80)
    risks = {"brca": shared, "blca": shared + 0.1 * random.normal(size=80), "lung": random.normal(size=80)}
    for name, risk in risks.items():
        models = risk + 0.1 * random.normal(size=(5, 80))
        scored = Scored(name, "abmil", tuple(range(5)), models, np.ones((5, 80), dtype=bool), knows_target=False)
        result = pair_result(scored, target)
        store_pair(results, result, fingerprint="f", patients=target.bags.patients, seconds=0.1)
    pairs = write_tables(results, lambda source, of: "f").pairs  # noqa: ARG005
    found = error_covariances(results, pairs)["acc"]
    variance = pairs.set_index("source")["standard_error"] ** 2
    for name in risks:
        assert found.loc[name, name] == pytest.approx(variance[name])
    assert found.loc["brca", "blca"] > 0.8 * np.sqrt(variance["brca"] * variance["blca"])
    assert abs(found.loc["brca", "lung"]) < 0.5 * np.sqrt(variance["brca"] * variance["lung"])
