"""The pieces of `init` and `check`: follow-up, names of encoders, layouts, and the lines every run prints."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_layouts import clam, people, trident, values, write_h5
from sksurv.nonparametric import kaplan_meier_estimator
from small_studies import SmallStudy

from cropkt.data.patients.folds import Fold
from cropkt.data.study import open_study
from cropkt.front.choosing import Chooser, Reading
from cropkt.front.doctor import FoldCount, check_cohort, in_short, median_follow_up
from cropkt.front.slides.encoder_names import same_encoder
from cropkt.front.slides.layouts import find_sources
from cropkt.front.slides.match import SlideNames, match
from cropkt.front.slides.sampling import look_into
from cropkt.front.tables.endpoint import endpoint_of


@pytest.mark.parametrize("seed", range(5))
def test_median_follow_up_is_the_reverse_kaplan_meier_estimate(seed: int) -> None:
    random = np.random.default_rng(seed)
    time, event = random.integers(0, 40, 60).astype(float), random.random(60) < 0.3
    moments, remaining = kaplan_meier_estimator(~event, time)
    expected = moments[np.flatnonzero(remaining <= 0.5 + 1e-12)[0]]
    assert median_follow_up(pd.DataFrame({"time": time, "event": event.astype(int)})) == expected


def test_a_median_follow_up_that_is_not_reached_is_none() -> None:
    assert median_follow_up(pd.DataFrame({"time": [1.0, 2.0, 3.0], "event": [1, 1, 1]})) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("uni_v2", "UNI2-h", True),
        ("mahmood-uni2-a1b2c3d4", "uni2-h", True),
        ("MahmoodLab/UNI2-h", "uni_v2", True),
        ("uni_v1", "uni_v2", False),
        ("conch", "conch_v15", False),
        ("my_encoder", "My-Encoder", True),
        ("uni_v2-20x_256px_0px_overlap", "MahmoodLab/UNI2-h", True),
    ],
)
def test_names_of_one_encoder(one: str, other: str, same: bool) -> None:
    assert same_encoder(one, other) is same


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("OS.time", "os"),
        ("DSS_STATUS", "dss"),
        ("Overall Survival (Months)", "os"),
        ("most", ""),
        ("survival_months", ""),
    ],
)
def test_endpoints_by_name(name: str, endpoint: str) -> None:
    assert endpoint_of(name) == endpoint


def test_layouts_are_told_apart_and_copies_passed_over(tmp_path: Path) -> None:
    persons = people(4)
    trident(tmp_path, persons)
    trident(tmp_path, persons, encoder="conch_v15", pt=True)
    write_h5(tmp_path / "20x_256px_0px_overlap" / "slide_features_titan" / "a.h5", values(1))
    clam(tmp_path / "clam", persons)
    found = find_sources(tmp_path)
    assert {(source.layout.name, source.encoder, source.suffix, len(source.files)) for source in found.sources} == {
        ("trident", "uni_v2", ".h5", 4),
        ("trident", "conch_v15", ".pt", 4),
        ("clam", "", ".h5", 4),
    }
    assert any("slide_features_titan" in note and "no patches" in note for note in found.notes)
    assert any("pt_files" in note and ".h5 files are used" in note for note in found.notes)


def test_files_that_are_no_files_do_not_stop_a_look(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", values(2), encoder="uni_v2")
    (tmp_path / "b.h5").write_bytes(b"")
    sample = look_into([str(tmp_path / name) for name in ("a.h5", "b.h5", "c.h5")])
    assert (dict(sample.widths), dict(sample.encoders), sample.bad) == ({12: 1}, {"uni_v2": 1}, 2)


def test_slides_match_with_and_without_endings_on_either_side() -> None:
    uuid = "1b2e5a3c-0000-4000-8000-0123456789ab"
    names = SlideNames(("TCGA-ZX-0001-01Z-00-DX1", "S1", "S12_a"))
    written = [("p", f"TCGA-ZX-0001-01Z-00-DX1.{uuid}.svs"), ("q", "S1.ndpi"), ("r", "S12")]
    found = match(["p", "q", "r"], written, names)
    assert (found.with_slides, found.patients_without, found.slides_without) == (2, ("r",), ("S12_a",))
    assert match(["S1", "S12"], None, names).with_slides == 2
    assert match(["S"], None, names).with_slides == 0


def test_a_patient_has_the_slides_of_its_whole_id() -> None:
    names = SlideNames(("H10_HE", "H1_HE", "H1_IHC"))
    assert names.of_patient("H1") == ["H1_HE", "H1_IHC"]
    assert names.of_patient("H10") == ["H10_HE"]


def test_a_check_counts_whom_a_fold_trains_on_and_whom_it_tests(small_study: Callable[..., SmallStudy]) -> None:
    cohort = open_study(small_study("acc").folder).cohorts["acc"]
    fold = Fold(tuple(cohort.labels.index[:9]), tuple(cohort.labels.index[9:]))
    (count,) = check_cohort(replace(cohort, folds=(fold,)), ()).folds
    events = cohort.labels["event"]
    assert count == FoldCount(9, events[:9].sum(), 3, events[9:].sum())


def test_a_person_is_asked_where_there_is_one() -> None:
    asked = []

    def ask(question: str, answers: object) -> int:
        asked.append((question, answers))
        return 1

    readings = [Reading(1, "one", "a"), Reading(2, "two", "b")]
    assert Chooser({}, ask).choose("the number", "number", readings).value == 2
    assert asked == [("the number", ["one: a", "two: b"])]
    assert Chooser({"number": "ONE"}, ask).choose("the number", "number", readings).value == 1
    assert len(asked) == 1


def test_every_run_prints_suspicions_by_kind(small_study: Callable[..., SmallStudy]) -> None:
    lines = in_short(open_study(small_study("acc", "uvm").folder))
    assert lines[0].startswith("study small: 2 cohorts, 24 patients, 12 events, 32 slides, ")
    (short,) = [line for line in lines if "short times" in line]  # both cohorts, one line
    assert short.startswith("suspicion: short times: uvm: the longest time is 210 days")
    assert "; so too acc; if so, give the unit" in short
