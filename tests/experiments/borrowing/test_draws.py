"""Learning curves: who lends to whom, what a worker keeps, and which stored draws are today's."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kept_artifacts import artifact_folder, artifacts
from mlflow import MlflowClient
from small_studies import SmallStudy

from cropkt.borrowing.lenders import lender_codes
from cropkt.data.bags import read_bags
from cropkt.errors import ConfigError
from cropkt.experiments.borrowing import curve
from cropkt.experiments.borrowing.config import CurveConfig, DrawsConfig
from cropkt.experiments.borrowing.curve import curve_table, draws_of, learning_curves
from cropkt.experiments.borrowing.means import CohortShelf
from cropkt.experiments.borrowing.trial import CurveJob, CurveTrial, Draw, hold_subject
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import ClusterConfig, StudyConfig, TrackingConfig
from cropkt.experiments.run import Run, prepare
from cropkt.experiments.sources.worker import train_job
from cropkt.simulation.truth import true_log_risk
from cropkt.survival.paired import mean_with_interval
from cropkt.training import pan_cancer_models
from cropkt.training.pan_cancer import SETTINGS
from cropkt.training.pan_cancer_models import PanCancerPlan

CODES = ("acc", "meso", "uvm", "chol")
CLUSTER = Cluster(ClusterConfig("cpu", "float32"))
SIZE = "10"


@pytest.fixture
def run(small_study: Callable[..., SmallStudy], tmp_path: Path) -> Run:
    study = StudyConfig(small_study(*CODES, patients=24).folder, out=tmp_path / "out")
    return prepare(CurveConfig(study, curve=DrawsConfig(patients=(SIZE,), draws=1)), CLUSTER)


@pytest.fixture
def job(run: Run) -> CurveJob:
    return CurveJob(run, ("borrowed", "own_ridge"))


def measured(job: CurveJob, *draws: Draw) -> None:
    """`draws` by one worker, without Ray's constructor, which wants a cluster."""
    trial = CurveTrial.__new__(CurveTrial)
    for number, draw in enumerate(draws):
        if number:
            trial.reset_config({"point": draw})
        else:
            trial.setup({"point": draw}, job)
        assert trial.step()["failed"] == ""


def changed(job: CurveJob, code: str, **changes: Any) -> CurveJob:
    """The job of a study whose cohort `code` is another one."""
    cohorts = {**job.run.cohorts, code: replace(job.run.cohorts[code], **changes)}
    return replace(job, run=replace(job.run, study=replace(job.run.study, cohorts=cohorts)))


def test_nobody_lends_to_a_target_who_shares_a_patient_with_it(job: CurveJob) -> None:
    assert set(job.lenders("acc")) == set(CODES) - {"acc"}
    labels = job.run.cohorts["uvm"].labels
    shared = labels.rename(index={labels.index[0]: job.run.cohorts["acc"].labels.index[0]})
    cohorts = changed(job, "uvm", labels=shared).run.cohorts
    assert set(lender_codes(cohorts, "acc", CODES)) == {"meso", "chol"}
    assert set(lender_codes(cohorts, "meso", CODES)) == set(CODES) - {"meso"}
    one = changed(job, "uvm", labels=labels.iloc[:1]).run.cohorts
    assert "uvm" not in lender_codes(one, "acc", CODES), "one patient has no moments"


def test_no_target_trains_the_networks_that_leave_it_out(job: CurveJob) -> None:
    def lenders(wanted: PanCancerPlan) -> list[str]:
        return [cohort.code for cohort in wanted.lenders]

    assert lenders(job.networks("acc").networks) == [code for code in job.run.sources if code != "acc"]
    both, other = (replace(job, left_out=2).networks(code).networks for code in job.run.targets[:2])
    assert both.left_out == other.left_out == job.run.targets[:2]
    assert set(lenders(both)) == set(CODES) - set(both.left_out)


def test_trained_networks_are_found_again_until_a_lender_changes(
    job: CurveJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pan_cancer_models, "SETTINGS", replace(SETTINGS, epochs=1))
    networks, target = job.networks("acc"), read_bags(job.run.cohorts["acc"])
    with pytest.raises(KeyError, match="no pan-cancer networks"):
        networks.load(target)
    held: dict[str, Any] = {}
    assert set(train_job(job.run.plan, networks, held)) == {0, 1}
    assert set(held["thinned"]) == set(CODES) - {"acc"}
    assert networks.done(job.run.plan)
    found = networks.load(target)
    assert found.vectors.shape == (2, 24, job.run.plan.architecture.embedding)
    assert len(found.lenders) == 2
    for one in (*networks.parts(job.run.plan), networks.networks.folder / "network_1.json"):
        content = one.read_bytes()
        one.write_bytes(content[: len(content) // 2])
        assert not networks.done(job.run.plan)
        one.write_bytes(content)
    assert networks.done(job.run.plan)
    assert not changed(job, "uvm", fingerprint="new").networks("acc").done(job.run.plan)


def test_what_a_draw_may_use_of_others_holds_nothing_of_its_target(job: CurveJob) -> None:
    subject = hold_subject(job, CohortShelf(job.run), "acc")
    assert {cohort.cohort for cohort in subject.others.cohorts} == set(CODES) - {"acc"}
    assert set(subject.others.ridges) == set(CODES) - {"acc"}
    assert {summary.cohort for summary in subject.others.lenders.model.summaries} <= set(CODES) - {"acc"}


def test_a_worker_measures_each_draw_on_its_own_target(job: CurveJob, tmp_path: Path) -> None:
    draws = [Draw("acc", SIZE, 0), Draw("uvm", SIZE, 0)]
    measured(job, *draws)
    together = curve_table(job, draws).drop(columns="seconds")
    assert list(together["target"]) == ["acc", "acc", "uvm", "uvm"]
    alone = replace(job, run=replace(job.run, results=replace(job.run.results, out=tmp_path / "alone")))
    measured(alone, draws[1])
    expected = curve_table(alone, draws[1:]).drop(columns="seconds")
    pd.testing.assert_frame_equal(together[2:].reset_index(drop=True), expected)


def test_a_draw_is_done_as_long_as_nothing_that_it_rests_on_changes(job: CurveJob) -> None:
    draw = Draw("acc", SIZE, 0)
    assert job.missing(draw) == job.methods
    measured(job, draw)
    assert job.missing(draw) == ()
    assert set(job.stored(draw)) == set(job.methods)
    assert replace(job, methods=(*job.methods, "pan_cox")).missing(draw) == ("pan_cox",)
    other_seed = replace(job, run=replace(job.run, plan=replace(job.run.plan, seed=1)))
    for other in (changed(job, "acc", fingerprint="new"), changed(job, "uvm", fingerprint="new"), other_seed):
        assert other.missing(draw) == job.methods
        assert other.stored(draw) == {}
        assert curve_table(other, [draw]).empty


def test_the_truth_of_a_simulated_study_follows_its_patients(tmp_path: Path) -> None:
    truth = {"cohort": ["acc", "uvm", "acc", "acc"], "patient_id": ["p3", "p1", "p1", "p2"], "log_risk": [3.0, 9, 1, 2]}
    assert true_log_risk(tmp_path, "acc", ("p1",)) is None
    pd.DataFrame(truth).to_parquet(tmp_path / "truth_patients.parquet")
    found = true_log_risk(tmp_path, "acc", ("p1", "p3"))
    assert found is not None
    np.testing.assert_array_equal(found, [1, 3])


def test_targets_with_few_events_are_left_out_and_one_cohort_cannot_borrow(run: Run) -> None:
    every = draws_of(run, DrawsConfig(patients=("10", "all"), draws=2))
    assert len(every) == 4 * (2 + 1)
    few = run.cohorts["acc"].labels.assign(event=0)
    study = replace(run.study, cohorts={**run.cohorts, "acc": replace(run.cohorts["acc"], labels=few)})
    some = draws_of(replace(run, study=study), DrawsConfig(least_events=1))
    assert {draw.target for draw in some} == set(CODES) - {"acc"}
    alone = replace(run.study, cohorts={"acc": run.cohorts["acc"]})
    with pytest.raises(ConfigError, match="borrowing needs others"):
        draws_of(replace(run, study=alone), DrawsConfig())


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ray is left out: trials run here, and those on targets that are put into this set die."""
    dead: set[str] = set()

    @contextmanager
    def here(_: ClusterConfig) -> Iterator[Cluster]:
        yield CLUSTER

    def one_by_one(
        _: type, job: CurveJob, draws: list[Draw], *__: Any, on_end: Callable[[Draw, Mapping[str, Any], str], None]
    ) -> None:
        for draw in draws:
            if draw.target in dead:
                on_end(draw, {}, "its worker died")
            else:
                measured(job, draw)
                on_end(draw, {"failed": ""}, "")

    monkeypatch.setattr(curve, "session", here)
    monkeypatch.setattr(curve, "measure_missing_means", lambda *_: None)
    monkeypatch.setattr(curve, "run_trials", one_by_one)
    return dead


def of_one_method(run: Run, tracking: TrackingConfig) -> CurveConfig:
    config = run.config
    assert isinstance(config, CurveConfig)
    return replace(config, curve=replace(config.curve, methods=("own_ridge",)), tracking=tracking)


def test_a_draw_that_failed_is_told_by_the_exit_code(
    run: Run, deaths: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(curve, "_show", lambda *_: None)
    config = of_one_method(run, TrackingConfig(wanted=False))
    deaths.add("acc")
    assert learning_curves(config) == SOME_FAILED
    told = f"failed: acc, {SIZE} patients, draw 0: its worker died; the same command tries it again"
    assert told in capsys.readouterr().out
    assert set(pd.read_parquet(run.results.out / "curve.parquet")["target"]) == set(CODES) - {"acc"}
    deaths.clear()
    assert learning_curves(config) == DONE
    assert set(pd.read_parquet(run.results.out / "curve.parquet")["target"]) == set(CODES)


@pytest.mark.usefixtures("deaths")
def test_a_curve_is_one_run_in_mlflow_with_its_numbers_table_and_picture(run: Run, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    config = of_one_method(run, TrackingConfig(uri=uri))
    for targets in (("acc",), ("acc", "uvm"), ("acc", "uvm")):
        assert learning_curves(replace(config, pairs=replace(config.pairs, targets=targets))) == DONE
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert (logged.info.run_name, logged.info.status) == ("learning curves", "FINISHED")
    assert logged.data.params["targets"] == "uvm,acc", "the last command, in the registry's order"
    assert logged.data.params["methods"] == "borrowed,own_ridge"
    table = pd.read_parquet(artifact_folder(uri, logged) / "curve.parquet")
    assert artifacts(uri, logged) == {"curve.parquet", "curve.png"}
    wide = table.pivot_table(index="target", columns="method", values="c_index")
    assert len(wide) == 2
    metrics = logged.data.metrics
    assert metrics[f"c_index/own_ridge/{SIZE}"] == pytest.approx(wide["own_ridge"].mean())
    gain = mean_with_interval((wide["borrowed"] - wide["own_ridge"]).to_numpy())
    for ending, name in (("", "mean"), ("_lower", "lower"), ("_upper", "upper")):
        assert metrics[f"borrowed_minus_c_index{ending}/own_ridge/{SIZE}"] == pytest.approx(gain[name])
