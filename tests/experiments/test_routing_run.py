"""What a routing run is asked for, and what `--protocol paper` means for routers."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small_studies import SmallStudy

from cropkt.errors import ConfigError
from cropkt.experiments import routing
from cropkt.experiments.command import DONE, SOME_FAILED
from cropkt.experiments.config import RunConfig
from cropkt.experiments.prepare import Selection, select
from cropkt.experiments.routing_run import RoutingOutcome, RoutingRun, routing_settings, settings_shown
from cropkt.transfer.routing import RoutingSettings

Write = Callable[..., SmallStudy]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tune": ("router", "gate")}, "'gate' cannot be tuned; choose of router, fusion, abmil"),
        ({"spaces": {"gate": Path("x")}}, "'gate' cannot be tuned"),
        ({"spaces": {"abmil": Path("x")}}, "--space abmil: no abmil is searched for"),
        ({"spaces": {"router": Path("x")}, "trials": 0}, "--space router: no router is searched for"),
        ({"trials": -1}, "--trials must be 0 or more"),
        ({"inner_folds": 1}, "--inner-folds 2 or more"),
        ({"source_folds": ()}, "--source-folds name a fold"),
        ({"timeout": 0.0}, "--timeout is 0; it must be above 0 seconds"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RoutingRun(RunConfig(), **wrong)


def test_the_least_that_can_be_asked_for_is_accepted() -> None:
    run = RoutingRun(RunConfig(), tune=("abmil",), spaces={"abmil": Path("x")}, trials=1, inner_folds=2, timeout=0.1)
    assert RoutingRun(RunConfig(), trials=0, spaces={}).trials == 0
    assert run.spaces == {"abmil": Path("x")}


def settings_of(study: Path, protocol: str, **asked: object) -> tuple[RoutingRun, RoutingSettings]:
    run = RoutingRun(RunConfig(study=study, protocol=protocol, epochs=4), **asked)
    return run, routing_settings(run, select(run.config))


def test_the_paper_protocol_sets_routers_up_as_released(small_study: Write) -> None:
    study = small_study("acc").folder
    _, ours = settings_of(study, "default", source_folds=(1, 2), inner_folds=4)
    _, paper = settings_of(study, "paper", source_folds=(1, 2), inner_folds=4)
    for settings in (ours, paper):
        assert (settings.source_folds, settings.inner_parts) == ((1, 2), 4)
        assert settings.training.epochs == 4
    assert (ours.cross_fitted, paper.cross_fitted) == (True, False)
    assert (ours.released_gru, paper.released_gru) == (False, True)
    assert (ours.router.balance_over, paper.router.balance_over) == ("update", "bag")
    assert (ours.training.drop_partial_update, paper.training.drop_partial_update) == (False, True)


def test_what_a_run_was_made_with_is_shown(small_study: Write) -> None:
    study = small_study("acc").folder
    run, settings = settings_of(study, "paper", tune=("router", "abmil"), trials=7)
    shown = settings_shown(run, settings)
    assert (shown["tuned"], shown["trials"], shown["protocol"], shown["seed"]) == ("router,abmil", "7", "paper", "0")
    assert (shown["cross_fitted"], shown["released_gru"], shown["source_folds"]) == ("False", "True", "(0,)")
    nothing, settings = settings_of(study, "default", trials=0)
    assert settings_shown(nothing, settings)["tuned"] == "nothing"


@pytest.mark.parametrize(
    ("swept", "failed", "code"),
    [(DONE, {}, DONE), (SOME_FAILED, {}, SOME_FAILED), (DONE, {"acc": "why"}, SOME_FAILED)],
)
def test_a_failure_of_the_sweep_or_of_a_fold_is_the_runs(
    small_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept: int, failed: dict, code: int
) -> None:
    """A sweep that a routing run has started says what failed; the exit code says that something did."""

    def outcome(_run: RoutingRun, selection: Selection, *_others: object) -> RoutingOutcome:
        return RoutingOutcome(None, selection.targets, pd.DataFrame(), pd.DataFrame(), {}, failed)  # type: ignore[arg-type]

    monkeypatch.setattr(routing, "sweep_if_needed", lambda *_given: (None, swept))
    monkeypatch.setattr(routing, "_route", outcome)
    monkeypatch.setattr("cropkt.experiments.routing_log.print_table", lambda _methods: None)
    monkeypatch.setattr("cropkt.experiments.routing_log.conclude", lambda *_given: None)
    config = RunConfig(study=small_study("acc", "uvm").folder, out=tmp_path / "out", targets=("acc",))
    assert routing.tune_router(RoutingRun(config, trials=0)) == code


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
    config = RunConfig(study=small_study("acc", "uvm").folder, out=tmp_path / "out", targets=("acc",), folds=folds)
    with pytest.raises(ConfigError, match=said):
        routing.tune_router(RoutingRun(config, trials=0, source_folds=source_folds))
    assert not (tmp_path / "out").exists()
