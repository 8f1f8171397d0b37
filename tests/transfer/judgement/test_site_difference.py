"""Own models by site and by plain folds: the same patients, and the difference that their C-indices have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_target import simulated_target

from cropkt.errors import InputError
from cropkt.transfer.judgement.site_difference import site_differences
from cropkt.transfer.pair import Scored, TargetCohort, pair_result
from cropkt.transfer.store import ResultsFolder, store_pair


def sweep(out: Path, target: TargetCohort, risk: np.ndarray) -> ResultsFolder:
    """A results folder with the target's own models, whose risks are `risk` (B,) on their own folds."""
    results = ResultsFolder(out, "simulated", "abmil")
    valid = target.tested_in == np.arange(5)[:, None]
    scored = Scored("acc", "abmil", tuple(range(5)), np.tile(risk, (5, 1)), valid)
    store_pair(results, pair_result(scored, target), fingerprint="v1", patients=target.bags.patients, seconds=0.1)
    return results


@pytest.fixture
def world() -> tuple[TargetCohort, np.ndarray]:
    return simulated_target(120, signal=0.8)


def test_the_same_folds_and_models_differ_by_nothing(tmp_path: Path, world: tuple[TargetCohort, np.ndarray]) -> None:
    target, log_risk = world
    plain, again = (sweep(tmp_path / name, target, log_risk) for name in ("plain", "again"))
    (row,) = site_differences(plain, again, ["acc", "uvm"])
    assert (row.model, row.patients, row.repeats) == ("self", 120, 1)
    assert row.difference == 0
    assert row.c_index_plain == row.c_index_by_site


def test_what_models_lose_on_new_hospitals_is_found_with_its_interval(
    tmp_path: Path, world: tuple[TargetCohort, np.ndarray]
) -> None:
    target, log_risk = world
    random = np.random.default_rng(3)
    moved = replace(target, tested_in=random.permutation(target.tested_in))
    worse = log_risk + random.normal(scale=3 * log_risk.std(), size=len(log_risk))
    plain, by_site = sweep(tmp_path / "plain", target, log_risk), sweep(tmp_path / "by_site", moved, worse)
    (row,) = site_differences(plain, by_site, ["acc"])
    one, other = (
        pair_result(
            Scored("acc", "abmil", (0,), risk[None], (of.tested_in >= 0)[None], knows_target=True), of
        ).pair.c_index_within_folds
        for of, risk in ((target, log_risk), (moved, worse))
    )
    assert (row.c_index_plain, row.c_index_by_site) == (pytest.approx(one), pytest.approx(other))
    assert row.difference == pytest.approx(other - one)
    assert row.difference < 0
    assert row.lower < row.difference < row.upper
    assert row.upper - row.difference == pytest.approx(row.difference - row.lower)


def test_other_labels_are_refused(tmp_path: Path, world: tuple[TargetCohort, np.ndarray]) -> None:
    target, log_risk = world
    plain = sweep(tmp_path / "plain", target, log_risk)
    by_site = sweep(tmp_path / "by_site", replace(target, time=target.time + 1), log_risk)
    with pytest.raises(InputError, match="sweep both studies on the same labels"):
        list(site_differences(plain, by_site, ["acc"]))
