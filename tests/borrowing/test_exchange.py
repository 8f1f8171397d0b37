"""What is exchanged holds no patient, survives the trip, and gives what the pooled patients would have given."""

from pathlib import Path

import numpy as np
import pytest
from made_up_cohorts import made_up_cohort, made_up_lenders
from safetensors.numpy import load_file

from cropkt.borrowing.axes import build_axes, cohort_moments
from cropkt.borrowing.exchange import (
    read_axes,
    read_moments,
    read_summary,
    write_axes,
    write_moments,
    write_summary,
)
from cropkt.borrowing.lenders import gather_lenders, screen_lenders
from cropkt.borrowing.summary import summarise
from cropkt.errors import InputError
from cropkt.survival.cox import gaussian_mode, partial_likelihood


def test_a_round_through_files_gives_what_one_site_with_all_patients_gets(tmp_path: Path) -> None:
    """Every hospital sees its own patients, the axes, and nothing else; float32 on the way is all that differs."""
    lenders = made_up_lenders()
    for number, lender in enumerate(lenders):
        write_moments(tmp_path / f"moments {number}", cohort_moments(lender.cohort, lender.features))
    write_axes(tmp_path / "axes", build_axes([read_moments(tmp_path / f"moments {n}") for n in range(8)], 4))
    for number, lender in enumerate(lenders):
        axes = read_axes(tmp_path / "axes")
        summary = summarise(lender.cohort, lender.features, lender.time, lender.event, axes)
        write_summary(tmp_path / f"summary {number}", summary)
    joint = screen_lenders(read_axes(tmp_path / "axes"), [read_summary(tmp_path / f"summary {n}") for n in range(8)])
    pooled = gather_lenders(lenders, axes=4)
    target = made_up_cohort("target").features
    ours, theirs = (one.model.prior(one.axes.centroid(target)) for one in (joint, pooled))
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=2e-2, atol=2e-4)
    assert joint.sharing == pytest.approx(pooled.sharing, abs=1e-3)


def test_summed_summaries_are_the_pooled_stratified_cox_model() -> None:
    """One set of coefficients for all: H and r of the cohorts add up to those of the pooled patients, stratified."""
    lenders = made_up_lenders(5, patients=400)
    axes = build_axes([cohort_moments(one.cohort, one.features) for one in lenders], 3)
    summaries = [summarise(one.cohort, one.features, one.time, one.event, axes) for one in lenders]
    joint = np.linalg.solve(sum(s.information for s in summaries), sum(s.linear for s in summaries))
    rows = np.vstack([axes.project(one.features) for one in lenders])
    time, event = (np.concatenate([getattr(one, name) for one in lenders]) for name in ("time", "event"))
    pooled = partial_likelihood(rows, time, event, np.repeat(np.arange(5), 400))
    exact = gaussian_mode(pooled, np.zeros(3), 1e8 * np.eye(3)).coefficients
    np.testing.assert_allclose(joint, exact, atol=0.02)


@pytest.mark.parametrize("patients", [60, 900])
def test_files_hold_no_patient(tmp_path: Path, patients: int) -> None:
    cohort = made_up_cohort("acc", patients=patients, width=1536)
    write_moments(tmp_path / "moments", cohort_moments("acc", cohort.features))
    axes = build_axes([read_moments(tmp_path / "moments")], 16)
    write_axes(tmp_path / "axes", axes)
    write_summary(tmp_path / "summary", summarise("acc", cohort.features, cohort.time, cohort.event, axes))
    shapes = {
        name: {key: array.shape for key, array in load_file(tmp_path / name).items()}
        for name in ("moments", "axes", "summary")
    }
    rank = min(64, patients // 2)
    assert shapes == {
        "moments": {"mean": (1536,), "variance": (1536,), "factor": (rank, 1536)},
        "axes": {"scale": (1536,), "directions": (1536, 16)},
        "summary": {"information": (16, 16), "linear": (16,), "centroid": (1536,)},
    }
    assert (tmp_path / "moments").stat().st_size < 450_000
    assert (tmp_path / "summary").stat().st_size < 10_000


def test_a_file_of_another_kind_damaged_or_missing_is_refused_by_name(tmp_path: Path) -> None:
    cohort = made_up_cohort("acc")
    write_moments(tmp_path / "moments", cohort_moments("acc", cohort.features))
    with pytest.raises(InputError, match=r"moments: holds moments of version 1, where axes"):
        read_axes(tmp_path / "moments")
    (tmp_path / "cut").write_bytes((tmp_path / "moments").read_bytes()[:200])
    for name in ("cut", "absent"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as moments"):
            read_moments(tmp_path / name)


def test_summaries_on_other_axes_do_not_mix() -> None:
    lenders = made_up_lenders(4)
    moments = [cohort_moments(one.cohort, one.features) for one in lenders]
    ours, theirs = build_axes(moments, 4), build_axes(moments[:3], 4)
    summaries = [summarise(one.cohort, one.features, one.time, one.event, ours) for one in lenders]
    with pytest.raises(InputError, match=r"lender 0.*other axes"):
        screen_lenders(theirs, summaries)


def test_a_cohort_without_events_says_nothing() -> None:
    cohort = made_up_cohort("acc")
    axes = build_axes([cohort_moments("acc", cohort.features)], 4)
    summary = summarise("acc", cohort.features, cohort.time, 0 * cohort.event, axes)
    assert not summary.information.any()
    assert not summary.linear.any()
    assert summary.events == 0
