"""What a routing run is asked for, and what `--protocol paper` means for routers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_studies import SmallStudy, write_study
from sweep_here import route_here

from cropkt.data.persons import person_digest
from cropkt.errors import ConfigError
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import ClusterConfig, StudyConfig
from cropkt.experiments.routing import driver
from cropkt.experiments.routing.config import RoutedPairs, RoutingConfig, SearchConfig
from cropkt.experiments.routing.job import RoutingJob, RoutingOutcome, routing_settings, settings_shown
from cropkt.experiments.run import Run, prepare
from cropkt.survival.concordance import score_folds
from cropkt.training.config import TrainingConfig
from cropkt.transfer.rows import PATIENTS_ONLY, TRAINING_TOO

Write = Callable[..., SmallStudy]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tune": ("router", "gate")}, "'gate' cannot be tuned; choose of router, fusion, abmil"),
        ({"spaces": (("gate", Path("x")),)}, "'gate' cannot be tuned"),
        ({"spaces": (("abmil", Path("x")),)}, "--space abmil: no abmil is searched for"),
        ({"spaces": (("router", Path("x")),), "trials": 0}, "--space router: no router is searched for"),
        ({"trials": -1}, "--trials must be 0 or more"),
        ({"inner_folds": 1}, "--inner-folds 2 or more"),
        ({"source_folds": ()}, "--source-folds name a fold"),
        ({"timeout": 0.0}, "--timeout is 0; it must be above 0 seconds"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SearchConfig(**wrong)


def test_the_least_that_can_be_asked_for_is_accepted() -> None:
    spaces = (("abmil", Path("x")),)
    assert SearchConfig(tune=("abmil",), spaces=spaces, trials=1, inner_folds=2, timeout=0.1).spaces == spaces
    assert SearchConfig(trials=0).trials == 0


def asked_for(study: Path, out: Path, folds: tuple[int, ...] = (), **search: object) -> RoutingConfig:
    pairs = RoutedPairs(sources=("uvm",), targets=("acc",), folds=folds)
    return RoutingConfig(StudyConfig(study, out=out), pairs, search=SearchConfig(trials=0, **search))  # type: ignore[arg-type]


def job_of(study: Path, protocol: str, search: SearchConfig) -> RoutingJob:
    config = RoutingConfig(
        StudyConfig(study),
        training=TrainingConfig(epochs=4),
        protocol=protocol,
        search=search,
    )
    run = prepare(config, Cluster(ClusterConfig("cpu", "float32")))
    return RoutingJob(run, {}, routing_settings(run, search))


def test_the_paper_protocol_sets_routers_up_as_released(small_study: Write) -> None:
    study = small_study("acc").folder
    search = SearchConfig(source_folds=(1, 2), inner_folds=4)
    ours, paper = (job_of(study, protocol, search).settings for protocol in ("default", "paper"))
    for settings in (ours, paper):
        assert (settings.source_folds, settings.inner_parts) == ((1, 2), 4)
        assert settings.training.epochs == 4
    assert (ours.cross_fitted, paper.cross_fitted) == (True, False)
    assert (ours.released_gru, paper.released_gru) == (False, True)
    assert (ours.router.balance_over, paper.router.balance_over) == ("update", "bag")
    assert (ours.training.drop_partial_update, paper.training.drop_partial_update) == (False, True)


def test_the_page_names_all_that_the_paper_protocol_changes(small_study: Write) -> None:
    """A setting that differs and is not named in docs/method.md, beside the limits, would be a silent change."""
    named = {
        "cross_fitted": "does not cross-fit",
        "released_gru": "released GRU",
        "router.balance_over": "balances gates over one slide",
        "training.drop_partial_update": "drops the last partial update",
    }
    study, search = small_study("acc").folder, SearchConfig()
    ours, paper = (flat(asdict(job_of(study, protocol, search).settings)) for protocol in ("default", "paper"))
    assert {key for key in ours if ours[key] != paper[key]} == set(named)
    jobs = [job_of(study, protocol, search).run for protocol in ("default", "paper")]
    plans = [flat(asdict(run.plan)) for run in jobs]
    assert {key for key in plans[0] if plans[0][key] != plans[1][key]} == {"training.drop_partial_update"}
    page = (Path(__file__).resolve().parents[3] / "docs" / "method.md").read_text()
    part = next(block for block in page.split("\n\n") if "`--protocol paper` gives" in block).replace("\n", " ")
    for phrase in (*named.values(), "order of the alphabet", "Its limits:", "not number by number"):
        assert phrase in part, phrase


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {key: value}
    return found


def test_what_a_run_was_made_with_is_shown(small_study: Write) -> None:
    study = small_study("acc").folder
    search = SearchConfig(tune=("router", "abmil"), trials=7)
    shown = settings_shown(job_of(study, "paper", search), search)
    assert (shown["tuned"], shown["trials"], shown["protocol"], shown["seed"]) == ("router,abmil", "7", "paper", "0")
    assert (shown["cross_fitted"], shown["released_gru"], shown["source_folds"]) == ("False", "True", "(0,)")
    nothing = SearchConfig(trials=0)
    assert settings_shown(job_of(study, "default", nothing), nothing)["tuned"] == "nothing"


@pytest.mark.parametrize(
    ("swept", "failed", "code"),
    [(DONE, {}, DONE), (SOME_FAILED, {}, SOME_FAILED), (DONE, {"acc": "why"}, SOME_FAILED)],
)
def test_a_failure_of_the_sweep_or_of_a_fold_is_the_runs(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept: int, failed: dict, code: int
) -> None:
    """A sweep that a routing run has started says what failed; the exit code says that something did."""
    asked: list[Run] = []

    def sweep_if_needed(run: Run, *_others: object) -> int:
        asked.append(run)
        return swept

    outcome = RoutingOutcome(None, pd.DataFrame(), pd.DataFrame(), {}, failed)  # type: ignore[arg-type]
    monkeypatch.setattr(driver, "sweep_if_needed", sweep_if_needed)
    monkeypatch.setattr(driver, "_route", lambda *_given: outcome)
    monkeypatch.setattr("cropkt.experiments.routing.conclude.print_table", lambda _methods: None)
    monkeypatch.setattr("cropkt.experiments.routing.conclude.conclude", lambda *_given: None)
    config = asked_for(small_study("acc", "uvm").folder, tmp_path / "out")
    assert driver.tune_router(config) == code
    (run,) = asked
    assert set(run.sources) == {"acc", "uvm"}, "a target's own model is an expert"


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A study of two cohorts, the results of `cropkt route --target acc --repeats 2`, and what it said."""
    folder = tmp_path_factory.mktemp("repeated")
    study = write_study(folder / "study", "acc", "uvm", patients=24).folder
    said = route_here(study, folder / "out", "--target", "acc", "--repeats", "2")
    assert said.code == DONE, said
    return study, folder / "out", said.out


def test_a_repeat_of_routing_fits_every_router_again_on_other_folds(repeated: tuple[Path, Path, str]) -> None:
    """And no router of a repeat has seen whom it is asked about, nor is any told what the first one was."""
    _, out, said = repeated
    table = pd.read_parquet(out / "routing.parquet").set_index("method")
    assert set(table["error_covers"]) == {TRAINING_TOO}
    assert "intervals and p cover the chance of patients, training sample, splits and seeds" in said
    tested, values = [], []
    for folder in (out, out / "repeats" / "1"):
        routing = folder / "routing" / "uni2-h" / "abmil" / "acc"
        predicted = pd.concat([pd.read_parquet(path) for path in sorted((routing / "predictions").iterdir())])
        predicted = predicted[predicted["method"] == "roupkt"].sort_values("patient_id", ignore_index=True)
        assert len(predicted) == 24
        for fold, of_fold in predicted.groupby("fold"):
            seen = set(json.loads((routing / "router" / f"fold_{fold}.json").read_text())["train_patients"])
            others = set(predicted["patient_id"]) - set(of_fold["patient_id"])
            assert seen == {person_digest(patient) for patient in others}
        tested.append(predicted["fold"].tolist())
        facts = (predicted[name].to_numpy() for name in ("time", "event", "risk", "fold"))
        time, event, risk, fold = facts
        values.append(score_folds(time, event, risk[None, :], fold, np.ones((1, 24), dtype=bool)).pooled.c_index)
    assert tested[0] != tested[1]
    assert values[0] != values[1]
    assert table.loc["roupkt", "c_index_pooled"] == pytest.approx(np.mean(values))


def test_a_repeat_of_routing_borrows_the_models_of_other_cohorts_and_trains_its_own(
    repeated: tuple[Path, Path, str],
) -> None:
    _, out, _ = repeated
    cards = [
        json.loads((folder / "routing" / "uni2-h" / "abmil" / "acc" / "router" / "fold_0.json").read_text())
        for folder in (out, out / "repeats" / "1")
    ]
    own, lent = ([card["experts"][number]["fingerprints"] for card in cards] for number in (0, 1))
    assert own[0] != own[1]
    assert lent[0] == lent[1]


def test_the_same_routing_again_fits_nothing(repeated: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    study, out, _ = repeated
    before = pd.read_parquet(out / "routing.parquet")
    monkeypatch.setattr("cropkt.experiments.routing.trial.fit_fold", lambda *_, **__: pytest.fail("fitted again"))
    assert route_here(study, out, "--target", "acc", "--repeats", "2").code == DONE
    pd.testing.assert_frame_equal(pd.read_parquet(out / "routing.parquet"), before)


def test_a_repeat_that_cannot_be_fitted_is_said_and_counts_for_nothing(
    repeated: tuple[Path, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out, _ = repeated
    (out / "repeats" / "1" / "routing" / "uni2-h" / "abmil" / "acc" / "folds" / "fold_1.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("cropkt.experiments.routing.trial.fit_fold", lambda *_, **__: 1 / 0)
        said = route_here(study, out, "--target", "acc", "--repeats", "2")
    assert said.code == SOME_FAILED
    assert "failed: repeat 1, acc, fold 1: ZeroDivisionError" in said.out
    assert "cover the chance of patients only" in said.out
    assert set(pd.read_parquet(out / "routing.parquet")["error_covers"]) == {PATIENTS_ONLY}
    assert route_here(study, out, "--target", "acc", "--repeats", "2").code == DONE
    assert set(pd.read_parquet(out / "routing.parquet")["error_covers"]) == {TRAINING_TOO}


@pytest.mark.parametrize(
    ("folds", "source_folds", "said"),
    [
        ((0, 2), (0,), "--folds: a router for acc needs its own models of all 3 folds"),
        ((0, 2), (1,), "--source-folds names fold 1, but --folds has 0, 2"),
    ],
)
def test_folds_that_a_router_needs_are_asked_for_before_anything_starts(
    small_study: Write, tmp_path: Path, folds: tuple[int, ...], source_folds: tuple[int, ...], said: str
) -> None:
    config = asked_for(small_study("acc", "uvm").folder, tmp_path / "out", folds, source_folds=source_folds)
    with pytest.raises(ConfigError, match=said):
        driver.tune_router(config)
    assert not (tmp_path / "out").exists()
