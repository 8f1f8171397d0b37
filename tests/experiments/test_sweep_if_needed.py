"""What a routing run finds missing in a sweep, and what it does about it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy

from cropkt.data.bags import read_bags
from cropkt.errors import StudyError
from cropkt.experiments import sweep
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import Selection, select
from cropkt.experiments.trial import PairTrial, SweepJob, read_target
from cropkt.files import write_json
from cropkt.training.sources import SourcePlan, load_source_models, store_null_model, train_cohort
from cropkt.transfer.baselines import measure_baseline
from cropkt.transfer.pair import hold_target, measure_pair
from cropkt.transfer.results import read_record, store_failure


@pytest.fixture
def config(small_study: Callable[..., SmallStudy], tmp_path: Path) -> RunConfig:
    study = small_study("acc", "uvm").folder
    return RunConfig(
        study=study, out=tmp_path / "out", baselines=False, device="cpu", precision="float32", tracking=False, epochs=1
    )


class Swept:
    """Stands in for the sweep on Ray: trains and measures everything here, or fails at uvm on acc."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls = 0
        self._fails = fails

    def __call__(self, config: RunConfig, selection: Selection, _scratch: Path) -> pd.DataFrame:
        self.calls += 1
        plan = sweep.source_plan(selection, config, device="cpu", precision="float32")
        measure_everything(plan, selection)
        if self._fails:
            store_failure(selection.results, "uvm", "acc", "its worker died")
        return sweep.write_tables(selection.results)


def measure_everything(plan: SourcePlan, selection: Selection) -> None:
    """Train all sources and measure all pairs, as workers do."""
    store_null_model(plan)
    for code in selection.sources:
        train_cohort(plan, selection.study.cohorts[code], selection.folds)
    job = SweepJob(selection.results, plan, selection.folds, dict(selection.study.cohorts))
    trial = PairTrial.__new__(PairTrial)  # without Ray's constructor, which wants a cluster
    trial.setup({"pair": selection.pairs()[0]}, job)
    for pair in selection.pairs():
        trial.reset_config({"pair": pair})
        assert trial.step()["failed"] == ""


def test_nothing_is_swept_when_nothing_is_missing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = select(config)
    swept = Swept()
    monkeypatch.setattr(sweep, "_sweep", swept)
    plan, code = sweep.sweep_if_needed(config, selection, tmp_path)
    assert (swept.calls, code) == (1, DONE)
    assert plan == sweep.source_plan(selection, config, device="cpu", precision="float32")
    tables = selection.results.out / "pairs.parquet"
    tables.unlink()
    _, code = sweep.sweep_if_needed(config, selection, tmp_path)
    assert (swept.calls, code) == (1, DONE)
    assert len(pd.read_parquet(tables)) == 4, "a run that was killed at the end has left no tables"
    for name in ("pairs/uni2-h/abmil/acc/uvm.json", "models/uni2-h/abmil/uvm/fold_1.safetensors"):
        (selection.results.out / name).unlink()
        before = swept.calls
        sweep.sweep_if_needed(config, selection, tmp_path)
        assert swept.calls == before + 1, name
    sweep.sweep_if_needed(replace(config, resume=False), selection, tmp_path)
    assert swept.calls == 4, "all again with --no-resume"


def test_pairs_of_other_data_or_fewer_folds_are_missing(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All models are there and every pair has a record, but not of today's data, or not of all models."""
    everything = select(config)
    plan = sweep.source_plan(everything, config, device="cpu", precision="float32")
    measure_everything(plan, everything)
    swept = Swept()
    monkeypatch.setattr(sweep, "_sweep", swept)
    path = everything.results.record_path("uvm", "acc")
    write_json(path, {**json.loads(path.read_text()), "fingerprint": "of other data"})
    sweep.sweep_if_needed(config, everything, tmp_path)
    assert swept.calls == 1
    measure_everything(plan, replace(everything, folds=(0,)))
    sweep.sweep_if_needed(config, everything, tmp_path)
    assert swept.calls == 2
    sweep.sweep_if_needed(replace(config, baselines=True), everything, tmp_path)
    assert swept.calls == 3


def test_a_worker_measures_baselines_with_the_sources_loss(config: RunConfig) -> None:
    config = replace(config, loss="cox_nll")
    selection = select(config)
    plan = sweep.source_plan(selection, config, device="cpu", precision="float32")
    cohort = selection.study.cohorts["acc"]
    job = SweepJob(selection.results, plan, selection.folds, dict(selection.study.cohorts))
    trial = PairTrial.__new__(PairTrial)
    trial.setup({"pair": ("random", "acc")}, job)
    assert trial.step()["failed"] == ""
    held = hold_target(cohort, read_bags(cohort))
    expected = measure_baseline("random", held, plan.architecture, seed=plan.seed, loss="cox_nll").predictions
    assert expected is not None
    stored = pd.read_parquet(selection.results.predictions_path("random", "acc"))
    assert stored["risk"].tolist() == expected["risk"].tolist()


@pytest.mark.parametrize("strict", [False, True])
def test_a_worker_leaves_a_bad_slide_out_unless_the_run_is_strict(config: RunConfig, strict: bool) -> None:
    config = replace(config, strict=strict)
    selection = select(config)
    slide = selection.study.cohorts["acc"].slides.iloc[0]
    with h5py.File(slide["path"], "r+") as file:
        file["features"][...] = np.nan
    plan = sweep.source_plan(selection, config, device="cpu", precision="float32")
    if strict:
        with pytest.raises(StudyError, match=slide["slide"]):
            read_target(selection.study.cohorts["acc"], plan)
    else:
        held = read_target(selection.study.cohorts["acc"], plan)
        assert [skipped.slide for skipped in held.bags.skipped] == [slide["slide"]]


def test_a_pair_that_failed_in_the_sweep_is_told_by_its_exit_code(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_sweep", Swept(fails=True))
    _, code = sweep.sweep_if_needed(config, select(config), tmp_path)
    assert code == SOME_FAILED
    assert "uvm on acc: failed: its worker died" in capsys.readouterr().out


def test_a_worker_measures_each_pair_with_the_models_and_patients_of_the_pair(config: RunConfig) -> None:
    selection = select(config)
    plan = sweep.source_plan(selection, config, device="cpu", precision="float32")
    measure_everything(plan, selection)
    for source, target in selection.pairs():
        cohort = selection.study.cohorts[target]
        held = hold_target(cohort, read_bags(cohort))
        expected = measure_pair(load_source_models(plan, source, selection.folds), held)
        record = read_record(selection.results, source, target)
        assert record is not None
        assert record["folds"] == expected.folds
        stored = pd.read_parquet(selection.results.predictions_path(source, target))
        assert expected.predictions is not None
        assert stored["risk"].tolist() == expected.predictions["risk"].tolist()
