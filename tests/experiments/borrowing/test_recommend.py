"""A recommendation: from whom, expected of whom, and for slides without outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_studies import SmallStudy

from cropkt.borrowing.lenders import Lenders
from cropkt.experiments.borrowing import recommend
from cropkt.experiments.borrowing.config import RecommendConfig
from cropkt.experiments.borrowing.means import CohortShelf
from cropkt.experiments.cluster import Cluster
from cropkt.experiments.config import ClusterConfig, StudyConfig
from cropkt.experiments.run import Run, prepare
from cropkt.rivals.rows import CURVE, CurveRow

CODES = ("acc", "meso", "uvm", "chol")


@pytest.fixture
def run(small_study: Callable[..., SmallStudy], tmp_path: Path) -> Run:
    study = StudyConfig(small_study(*CODES, patients=24).folder, out=tmp_path / "out")
    return prepare(RecommendConfig(study), Cluster(ClusterConfig("cpu", "float32")))


class Watched(CohortShelf):
    """Notes which cohorts are asked to lend."""

    asked: list[tuple[str, ...]]

    def lenders(self, codes: Sequence[str]) -> Lenders:
        self.asked.append(tuple(codes))
        return super().lenders(codes)


def test_no_cohort_lends_to_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the target, nor the others in turn when they show which C-index to expect."""
    Watched.asked = []
    monkeypatch.setattr(recommend, "CohortShelf", Watched)
    found = recommend._recommendation(run, [], "acc", "acc")
    others = [code for code in run.sources if code != "acc"]
    assert Watched.asked == [tuple(others)] + [tuple(one for one in others if one != code) for code in others]
    assert {lender.cohort for lender in found.lenders} == set(others)
    assert (found.patients, found.events, found.expected.cohorts) == (24, 12, 3)
    assert np.isfinite(found.expected.own)


def test_slides_without_outcomes_borrow_from_all_and_count_by_patient(run: Run) -> None:
    of_uvm = run.cohorts["uvm"].slides
    slides = [
        (f"new {patient}", Path(path)) for patient, path in zip(of_uvm["patient_id"], of_uvm["path"], strict=True)
    ]
    assert len(slides) > len(run.cohorts["uvm"].labels)
    found = recommend._recommendation(run, slides, "mine", None)
    assert (found.target, found.patients, found.events) == ("mine", 24, 0)
    assert np.isnan(found.probability)
    assert {lender.cohort for lender in found.lenders} == set(run.sources)
    own = CohortShelf(run).patients("uvm")
    np.testing.assert_allclose(recommend._unlabelled(run, slides, "mine").features, own.features)


def test_events_to_do_without_are_those_of_this_encoder_and_architecture(run: Run) -> None:
    """Gains fall with events and cross 0; another encoder's curve is higher throughout."""

    def rows(gain: float, **changes: str) -> list[CurveRow]:
        found = []
        for number in range(recommend.LEAST_TARGETS):
            for size, events in (("20", 4.0), ("40", 8.0), ("160", 32.0)):
                for method, c_index in (("own_ridge", 0.6), ("borrowed", 0.6 + gain - 0.02 * np.log2(events / 8))):
                    row = CurveRow(
                        f"t{number}",
                        run.results.encoder,
                        run.results.architecture,
                        method,
                        size,
                        0,
                        events,
                        9,
                        3,
                        c_index,
                    )
                    found.append(replace(row, **changes))
        return found

    path = run.results.out / CURVE.path
    path.parent.mkdir(parents=True, exist_ok=True)
    assert recommend._needed(run) is None
    of_others = [*rows(0.06, encoder="conch"), *rows(0.06, architecture="dsmil")]
    CURVE.write(path, CURVE.frame(vars(row) for row in of_others))
    assert recommend._needed(run) is None
    CURVE.write(path, CURVE.frame(vars(row) for row in [*rows(0.0), *of_others]))
    needed = recommend._needed(run)
    assert needed is not None
    assert needed.events == pytest.approx(8)
