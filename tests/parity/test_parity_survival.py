"""Intervals, losses and C-indices against the published code (parity/README.md: labels, losses, cindex)."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cropkt.data.faults import Faults
from cropkt.data.patients.labels import read_labels
from cropkt.survival.concordance import concordance
from cropkt.survival.discrete.intervals import interval_of, quantile_edges, uniform_edges
from cropkt.survival.discrete.risk import risk, survival
from cropkt.survival.losses import LOSSES
from cropkt.survival.losses.cox_nll import cox_nll
from cropkt.survival.losses.discrete_nll import discrete_nll
from cropkt.survival.losses.incidence_nll import incidence_nll

DISCRETE = {"SurvMLE": discrete_nll, "SurvIFMLE": incidence_nll}


def cases_of(parity: Path, file: str, key: str) -> list[dict[str, Any]]:
    cases = json.loads((parity / file).read_text())[key]
    assert cases
    return cases


def test_intervals_are_the_published_ones(parity: Path, tmp_path: Path) -> None:
    for number, case in enumerate(cases_of(parity, "labels.json", "cases")):
        table = tmp_path / f"{number}.csv"
        with open(table, "w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(case["rows"][0]))
            writer.writeheader()
            writer.writerows(case["rows"])
        faults = Faults(case["name"])
        labels = read_labels(table, table.name, faults, leave_out=False).patients()
        assert faults.found == []
        assert labels.index.tolist() == [patient.upper() for patient in case["patient_id"]], case["name"]
        assert labels["time"].tolist() == case["t"], case["name"]
        assert labels["event"].tolist() == case["e"], case["name"]
        if case["mode"] == "quantile":
            edges = quantile_edges(labels["time"], labels["event"], intervals=case["time_bins"])
        else:
            edges = uniform_edges(
                labels["time"], labels["event"], intervals=case["time_bins"], longest=case["time_event_max"]
            )
        assert edges.tolist() == case["edges"], case["name"]
        assert interval_of(labels["time"], edges).tolist() == case["bin"], case["name"]


def test_discrete_losses_are_the_published_ones(parity: Path) -> None:
    cases = [case for case in cases_of(parity, "losses.json", "cases") if case["loss"] in DISCRETE]
    assert {case["loss"] for case in cases} == set(DISCRETE)
    for case in cases:
        name = f"{case['loss']} {case['name']}"
        interval, event = torch.tensor(case["bin"]), torch.tensor(case["event"])
        settings = {"alpha": case["alpha"], "eps": case["eps"]}
        logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
        per_patient = DISCRETE[case["loss"]](logits, interval, event, **settings)
        per_patient.mean().backward()
        close(per_patient, case["per_patient"], name)
        close(per_patient.mean(), case["value"], name)
        close(logits.grad, case["gradient"], name)
        single = DISCRETE[case["loss"]](logits.detach().float(), interval, event, **settings).mean()
        assert float(single) == pytest.approx(case["value_float32"], abs=5e-6, rel=0), name


def test_the_cox_likelihood_is_the_published_one(parity: Path) -> None:
    """On labels as vectors; what the release makes of a column of labels is no likelihood (its README)."""
    cases = [case for case in cases_of(parity, "losses.json", "cases") if case.get("label_shape") == "vector"]
    assert cases
    for case in cases:
        log_risk = torch.tensor(case["log_risk"], dtype=torch.float64, requires_grad=True)
        value = cox_nll(log_risk, torch.tensor(case["time"], dtype=torch.float64), torch.tensor(case["event"]))
        value.backward()
        close(value, case["value"], case["name"])
        close(log_risk.grad, case["gradient"], case["name"])


def close(found: torch.Tensor, expected: Any, name: str) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-9, atol=1e-10, msg=lambda text: f"{name}: {text}")


def test_risks_and_c_indices_are_the_published_ones(parity: Path) -> None:
    for case in cases_of(parity, "cindex.json", "discrete"):
        rate = torch.tensor(case["hazard"], dtype=torch.float32)
        curve = 1 - rate.cumsum(dim=-1) if case["kind"] == "incidence" else survival(rate)
        assert risk(curve).numpy() == pytest.approx(np.array(case["risk"]), abs=2e-5, rel=0), case["name"]
        expect(case, case["sksurv"])


def expect(case: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """The C-index of the case's own risks and, where there is one, the counts; else NaN and a reason."""
    found = concordance(case["time"], case["event"], case["risk"])
    if case["error"] is not None:
        assert np.isnan([found.c_index, found.standard_error]).all(), case["name"]
        assert found.comparable == 0
        assert found.reason
        return
    assert expected is not None
    assert found.c_index == pytest.approx(case["c_index"], abs=1e-12), case["name"]
    assert found.c_index == pytest.approx(expected["c_index"], abs=1e-12), case["name"]
    counts = (found.concordant, found.discordant, found.tied_risk, found.tied_time)
    assert counts == tuple(expected[key] for key in ("concordant", "discordant", "tied_risk", "tied_time")), case[
        "name"
    ]
    assert not found.reason


def test_c_indices_of_given_risks_are_the_published_ones(parity: Path) -> None:
    for case in cases_of(parity, "cindex.json", "risks"):
        expect(case, case)


def test_the_published_evaluator_says_the_same(parity: Path) -> None:
    case = json.loads((parity / "cindex.json").read_text())["evaluator"]
    logits = torch.tensor(case["logits"])
    _, risks = LOSSES["discrete_nll"].hazard_and_risk(logits)
    expected = case["result"]
    assert concordance(case["time"], case["event"], risks.numpy()).c_index == pytest.approx(
        expected["c_index"], abs=1e-12
    )
    assert concordance(case["bin"], case["event"], risks.numpy()).c_index == pytest.approx(
        expected["c_index2"], abs=1e-12
    )
    interval, event = torch.tensor(case["bin"]), torch.tensor(case["event"])
    for alpha, key in ((0.0, "loss_mle"), (0.5, "loss_SurvMLE")):
        assert float(discrete_nll(logits, interval, event, alpha=alpha).mean()) == pytest.approx(
            expected[key], abs=5e-6, rel=0
        )
