"""One pair, from real files and trained models to its rows: who scored whom, and what the numbers are made of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_studies import SmallStudy, small_plan

from cropkt.data.bags import read_bags
from cropkt.data.persons import person_digest
from cropkt.data.study import Study, open_study
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance, confidence_interval, p_value_against
from cropkt.training.sources import SourceModels, SourcePlan, load_source_models, store_null_model, train_cohort
from cropkt.transfer.pair import PairResult, TargetCohort, hold_target, measure_pair, pair_fingerprint
from cropkt.transfer.rows import FOLDS as FOLDS_TABLE

FOLDS = (0, 1, 2)


@pytest.fixture
def plan(tmp_path: Path) -> SourcePlan:
    made = small_plan(tmp_path / "models")
    store_null_model(made)
    return made


@pytest.fixture
def study(small_study: Callable[..., SmallStudy]) -> SmallStudy:
    """acc and uvm, 15 patients each, died on different days; splits made on first opening."""
    study = small_study("acc", "uvm", patients=15)
    for code in ("acc", "uvm"):
        for line, row in enumerate(study.rows(code)[1:], start=2):
            number = int(row[0][-4:])
            study.set_cell(code, line, "t", str(50 + 173 * ((7 * number) % 15)))
            study.set_cell(code, line, "e", str(int(number % 3 != 1)))
    return study


def source(plan: SourcePlan, opened: Study, code: str, folds: Sequence[int] = FOLDS) -> SourceModels:
    train_cohort(plan, opened.cohorts[code], folds)
    return load_source_models(plan, code, folds)


def target(opened: Study, code: str) -> TargetCohort:
    return hold_target(opened.cohorts[code], read_bags(opened.cohorts[code]))


def scored(result: PairResult) -> dict[int, set[str]]:
    """Patients by source fold."""
    return {fold: set(part["patient_id"]) for fold, part in result.predictions.groupby("source_fold", observed=True)}


def test_across_cohorts_every_model_scores_every_test_fold(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    models, held = source(plan, opened, "acc"), target(opened, "uvm")
    result = measure_pair(models, held)
    everyone = set(held.cohort.labels.index)
    assert scored(result) == dict.fromkeys(FOLDS, everyone)
    assert [(row.source_fold, row.target_fold) for row in result.folds] == [(m, f) for m in FOLDS for f in FOLDS]
    assert result.pair.mode == "transfer"
    assert (result.pair.n_patients, result.pair.n_events) == (15, 10)
    risk = predict(models.models, held.bags).risk
    for row in result.folds:
        members = held.tested_in == row.target_fold
        own = concordance(held.time[members], held.event[members], risk[row.source_fold, members])
        assert row.c_index == pytest.approx(own.c_index, abs=1e-12)
        assert row.standard_error == pytest.approx(own.standard_error, abs=1e-12)
        assert row.n_comparable == own.comparable
        assert (row.n_patients, row.n_events) == (members.sum(), held.event[members].sum())
        assert row.status == "ok"


def test_the_summary_is_made_of_the_rows(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    result = measure_pair(source(plan, opened, "acc"), target(opened, "uvm"))
    rows, pair = FOLDS_TABLE.frame(map(vars, result.folds)), result.pair
    assert pair.c_index_mean == pytest.approx(rows["c_index"].mean())
    assert pair.c_index_within_folds == pytest.approx(np.average(rows["c_index"], weights=rows["n_comparable"]))
    assert pair.folds_used == 9
    settings = (pair.c_index_pooled, pair.standard_error, pair.n_events_compared)
    assert (pair.interval_lower, pair.interval_upper) == confidence_interval(*settings)
    assert pair.p_chance == p_value_against(*settings)
    alone = np.sqrt((rows.drop_duplicates("target_fold")["standard_error"] ** 2).sum())
    assert pair.standard_error_within_folds > 0.4 * alone / 3
    assert pair.error_covers == "patients"


def test_between_cohorts_all_comparable_pairs_count(plan: SourcePlan, study: SmallStudy) -> None:
    """No model of the source knows a patient of the target, so folds need not divide them; within a cohort they do."""
    opened = open_study(study.folder)
    models, held = source(plan, opened, "acc"), target(opened, "uvm")
    pair = measure_pair(models, held).pair
    by_model = [concordance(held.time, held.event, risk) for risk in predict(models.models, held.bags).risk]
    assert pair.c_index_pooled == pytest.approx(np.mean([found.c_index for found in by_model]), abs=1e-12)
    assert pair.n_comparable == by_model[0].comparable
    assert pair.n_events_compared == by_model[0].compared_event.sum()
    own = measure_pair(models, target(opened, "acc"))
    rows = FOLDS_TABLE.frame(map(vars, own.folds))
    assert own.pair.n_comparable == rows["n_comparable"].sum()
    assert own.pair.c_index_pooled == own.pair.c_index_within_folds
    assert np.isnan(own.pair.brier_gain), "its risk is too sure of the patients it would be recalibrated on"


def test_predictions_are_the_patients_own(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    models, held = source(plan, opened, "acc"), target(opened, "uvm")
    result = measure_pair(models, held)
    expected = predict(models.models, held.bags)
    for row in result.predictions.itertuples():
        patient = held.bags.patients.index(row.patient_id)
        assert row.risk == expected.risk[row.source_fold, patient]
        np.testing.assert_array_equal(row.hazard, expected.hazard[row.source_fold, patient])
        label = held.cohort.labels.loc[row.patient_id]
        assert (row.time, row.event) == (label["time"], label["event"])
        assert row.patient_id in held.cohort.folds[row.target_fold].test
    assert result.representation.shape == (3, 15, 8)


def test_a_self_pair_uses_matched_folds_only(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    result = measure_pair(source(plan, opened, "acc"), target(opened, "acc"))
    assert result.pair.mode == "self"
    assert [(row.source_fold, row.target_fold) for row in result.folds] == [(f, f) for f in FOLDS]
    assert scored(result) == {fold: set(opened.cohorts["acc"].folds[fold].test) for fold in FOLDS}
    assert len(result.predictions) == 15
    assert result.pair.folds_used == 3


def test_a_self_pair_leaves_unmatched_folds_out_even_where_nothing_was_seen(
    plan: SourcePlan, study: SmallStudy
) -> None:
    """A patient in no training list of a fold was not seen by its model; tested in another fold, it still must not be
    scored: splits are read as they are, and a short training list may mean that the list is wrong."""
    opened = open_study(study.folder)
    first, second = opened.cohorts["acc"].folds[0].train[:2]
    for fold in FOLDS:
        lines = study.split("acc", fold).read_text().splitlines()
        kept = [
            ",".join("" if cell in (first, second) and column == 0 else cell for column, cell in enumerate(cells))
            for cells in (line.split(",") for line in lines)
        ]
        study.split("acc", fold).write_text("\n".join(kept) + "\n")
    reopened = open_study(study.folder)
    models = source(plan, reopened, "acc")
    digests = {person_digest(first), person_digest(second)}
    assert not any(digests & set(seen) for seen in models.seen)
    result = measure_pair(models, target(reopened, "acc"))
    assert scored(result) == {fold: set(reopened.cohorts["acc"].folds[fold].test) for fold in FOLDS}


def test_a_self_pair_of_some_folds_scores_their_patients_only(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    result = measure_pair(source(plan, opened, "acc", [2]), target(opened, "acc"))
    assert scored(result) == {2: set(opened.cohorts["acc"].folds[2].test)}
    assert result.pair.n_patients == len(opened.cohorts["acc"].folds[2].test)


def test_the_c_index_within_folds_does_not_know_the_other_folds(plan: SourcePlan, study: SmallStudy) -> None:
    """Adding a constant to one fold's risks changes no number: patients of two folds are never compared."""
    opened = open_study(study.folder)
    models, held = source(plan, opened, "acc"), target(opened, "uvm")
    result = measure_pair(models, held)
    table = result.predictions.assign(risk=lambda t: t["risk"] + 100.0 * t["target_fold"])
    counts = np.zeros(2)
    for _, part in table.groupby(["source_fold", "target_fold"]):
        own = concordance(part["time"], part["event"], part["risk"].to_numpy(dtype=float))
        counts += [own.concordant + own.tied_risk / 2, own.comparable]
    assert result.pair.c_index_within_folds == pytest.approx(counts[0] / counts[1], abs=1e-12)


def test_a_target_without_events_is_said_not_scored(plan: SourcePlan, study: SmallStudy) -> None:
    for line in range(2, len(study.rows("uvm")) + 1):
        study.set_cell("uvm", line, "e", "0")
    opened = open_study(study.folder)
    result = measure_pair(source(plan, opened, "acc"), target(opened, "uvm"))
    assert result.pair.status == "no comparable pair"
    assert np.isnan(
        [getattr(result.pair, key) for key in ("c_index_mean", "c_index_pooled", "standard_error", "p_chance")]
    ).all()
    assert result.pair.folds_used == result.pair.n_comparable == 0
    assert {row.status for row in result.folds} == {"no event"}
    assert len(result.predictions) == 45, "risks are kept: they may be looked at without a C-index"


def test_a_patient_whose_slide_is_bad_is_not_scored_and_is_counted(plan: SourcePlan, study: SmallStudy) -> None:
    patient, slide = study.rows("uvm")[-1][:2]
    study.write_slide("UVM", slide, np.full((2, 6), np.nan, np.float32))
    opened = open_study(study.folder)
    with pytest.warns(UserWarning, match=slide):
        held = target(opened, "uvm")
    result = measure_pair(source(plan, opened, "acc"), held)
    assert patient not in set(result.predictions["patient_id"])
    assert (result.pair.n_patients, result.pair.skipped_slides) == (14, 1)


def test_the_fingerprint_follows_models_target_and_precision(study: SmallStudy) -> None:
    opened = open_study(study.folder)
    acc, uvm = opened.cohorts["acc"], opened.cohorts["uvm"]
    first = pair_fingerprint("models", uvm, "float32")
    assert first == pair_fingerprint("models", uvm, "float32")
    others = [
        pair_fingerprint("other models", uvm, "float32"),
        pair_fingerprint("models", acc, "float32"),
        pair_fingerprint("models", uvm, "bfloat16"),
        pair_fingerprint("models", replace(uvm, fingerprint="other data"), "float32"),
    ]
    assert len({first, *others}) == 5


def test_a_pair_is_measured_with_the_loss_of_its_models(plan: SourcePlan, study: SmallStudy) -> None:
    opened = open_study(study.folder)
    cox = replace(plan, folder=plan.folder / "cox", training=replace(plan.training, loss="cox_nll"))
    store_null_model(cox)
    models, held = source(cox, opened, "acc"), target(opened, "uvm")
    result = measure_pair(models, held)
    with torch.inference_mode():
        logits = models.models[0](held.bags.features, held.bags.offsets).logits
    first = result.predictions[result.predictions["source_fold"] == 0].set_index("patient_id")["risk"]
    np.testing.assert_allclose(first.loc[list(held.bags.patients)], logits[:, 0], rtol=1e-4)


def test_rows_and_predictions_name_the_folds_of_their_models(plan: SourcePlan, study: SmallStudy) -> None:
    """A sweep with --folds 1,2."""
    opened = open_study(study.folder)
    models, held = source(plan, opened, "acc", [1, 2]), target(opened, "uvm")
    result = measure_pair(models, held)
    pairs_of_folds = [(row.source_fold, row.target_fold) for row in result.folds]
    assert pairs_of_folds == [(m, f) for m in (1, 2) for f in FOLDS]
    assert set(scored(result)) == {1, 2}
    risk = result.predictions.set_index(["source_fold", "patient_id"])["risk"]
    patient = held.bags.patients[0]
    assert risk[2, patient] == predict(models.models[1:], held.bags).risk[0, 0]
