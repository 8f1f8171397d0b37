"""Source models of a cohort on disk: what is missing, what is whose, and that no test patient has a part in them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_studies import DIM, HEADER, small_plan

from cropkt.cohorts import cohort_info
from cropkt.data.bags import read_bags
from cropkt.data.persons import person_digest
from cropkt.data.study import Cohort, open_study
from cropkt.errors import CheckpointError, StudyError
from cropkt.models.checkpoint import card_path, load_model
from cropkt.models.mil import TrainedWith
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.training.cards import read_source_card
from cropkt.training.sources import (
    SourcePlan,
    load_source_models,
    missing_folds,
    source_fingerprint,
    store_null_model,
    train_cohort,
)

FOLDS = [0, 1, 2]


@pytest.fixture
def plan(tmp_path: Path) -> SourcePlan:
    made = small_plan(tmp_path / "models")
    store_null_model(made)
    return made


@pytest.fixture
def cohort(small_study: Callable) -> Cohort:
    return open_study(small_study("acc").folder).cohorts["acc"]


def weights(plan: SourcePlan, fold: int) -> dict[str, torch.Tensor]:
    return load_model(plan.model_path("acc", fold)).state_dict()


def digests(patients: Iterable[str]) -> set[str]:
    return {person_digest(patient) for patient in patients}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_models_are_stored_with_cards_that_say_what_they_are(plan: SourcePlan, cohort: Cohort) -> None:
    cards = train_cohort(plan, cohort, FOLDS)
    bags = read_bags(cohort)
    for fold, card in zip(FOLDS, cards, strict=True):
        stored = read_source_card(plan.model_path("acc", fold))
        assert stored == card
        assert (stored.cohort, stored.fold, stored.encoder) == ("acc", fold, "uni2-h")
        assert set(stored.train_patients) == digests(cohort.folds[fold].train)
        assert not set(stored.train_patients) & digests(cohort.folds[fold].test)
        assert len(stored.losses) == 3 * 3, "3 epochs of 8 patients, 3 an update, the partial one kept"
        test = [bags.patients.index(patient) for patient in cohort.folds[fold].test]
        risk = predict([load_model(plan.model_path("acc", fold))], bags.take(test)).risk[0]
        labels = cohort.labels.loc[list(cohort.folds[fold].test)]
        own = concordance(labels["time"], labels["event"], risk)
        assert stored.test_c_index == pytest.approx(own.c_index)
        assert stored.test_comparable == own.comparable > 0


def test_training_twice_gives_the_same_files_and_one_fold_alone_too(
    plan: SourcePlan, cohort: Cohort, tmp_path: Path
) -> None:
    train_cohort(plan, cohort, FOLDS)
    again = replace(plan, folder=tmp_path / "again")
    store_null_model(again)
    train_cohort(again, cohort, [2])
    train_cohort(again, cohort, [1, 0])
    for fold in FOLDS:
        one, other = plan.model_path("acc", fold), again.model_path("acc", fold)
        assert one.read_bytes() == other.read_bytes()
        assert card_path(one).read_bytes() == card_path(other).read_bytes()


def test_every_fold_starts_from_the_stored_null_model(plan: SourcePlan, cohort: Cohort) -> None:
    """With the warm-up's first update alone, which has rate 0, nothing has moved yet."""
    short = replace(plan, training=replace(plan.training, epochs=1, bags_per_update=16))
    train_cohort(short, cohort, FOLDS)
    null = load_model(plan.null_path()).state_dict()
    assert all(equal(weights(plan, fold), null) for fold in FOLDS)
    train_cohort(plan, cohort, FOLDS)
    assert not any(equal(weights(plan, fold), null) for fold in FOLDS)


def test_no_test_patient_has_a_part_in_a_model(plan: SourcePlan, small_study: Callable, tmp_path: Path) -> None:
    """Noise for features and labels of all test patients of fold 0 changes no bit of its weights."""
    study = small_study("acc")
    before = open_study(study.folder).cohorts["acc"]
    train_cohort(plan, before, FOLDS)
    tested = set(before.folds[0].test)
    random = np.random.default_rng(0)
    rows = study.rows("acc")
    new = {patient: (str(random.integers(0, 20000)), str(random.integers(0, 2))) for patient in sorted(tested)}
    for row in rows[1:]:
        patient, slide = row[:2]
        if patient in tested:
            row[HEADER.index("t")], row[HEADER.index("e")] = new[patient]
            noise = 100 * random.normal(size=(int(random.integers(1, 9)), DIM))
            study.write_slide("ACC", slide, noise.astype(np.float32))
    study.write_rows("acc", rows)
    after = open_study(study.folder).cohorts["acc"]
    assert after.folds == before.folds
    assert after.fingerprint != before.fingerprint
    changed = replace(plan, folder=tmp_path / "changed")
    store_null_model(changed)
    train_cohort(changed, after, FOLDS)
    assert equal(weights(plan, 0), weights(changed, 0))
    for fold in (1, 2):
        assert not equal(weights(plan, fold), weights(changed, fold)), "there they train, so the noise must show"


def test_only_missing_and_outdated_folds_are_missing(plan: SourcePlan, cohort: Cohort) -> None:
    assert missing_folds(plan, cohort, FOLDS) == FOLDS
    train_cohort(plan, cohort, [0, 2])
    assert missing_folds(plan, cohort, FOLDS) == [1]
    train_cohort(plan, cohort, [1])
    assert missing_folds(plan, cohort, FOLDS) == []
    plan.model_path("acc", 1).unlink()
    assert missing_folds(plan, cohort, FOLDS) == [1], "a card without weights is no model"
    card_path(plan.model_path("acc", 2)).unlink()
    assert missing_folds(plan, cohort, FOLDS) == [1, 2], "weights without a card were never finished"


def test_whatever_decides_the_weights_makes_models_outdated(plan: SourcePlan, cohort: Cohort) -> None:
    train_cohort(plan, cohort, FOLDS)
    others = [
        replace(plan, seed=8),
        replace(plan, precision="bfloat16"),
        replace(plan, training=replace(plan.training, epochs=4)),
        replace(plan, training=replace(plan.training, weight_decay=0.1)),
        replace(plan, architecture=replace(plan.architecture, dropout=0.1)),
    ]
    for other in others:
        assert missing_folds(other, cohort, FOLDS) == FOLDS
        assert source_fingerprint(other, cohort, FOLDS) != source_fingerprint(plan, cohort, FOLDS)
    assert missing_folds(replace(plan, strict=True), cohort, FOLDS) == []
    assert missing_folds(plan, replace(cohort, fingerprint="other data"), FOLDS) == FOLDS


def test_the_null_model_is_stored_once_and_other_settings_are_refused(plan: SourcePlan) -> None:
    before = plan.null_path().read_bytes(), plan.null_path().stat().st_mtime_ns
    store_null_model(plan)
    assert (plan.null_path().read_bytes(), plan.null_path().stat().st_mtime_ns) == before
    for other, named in (
        (replace(plan, seed=8), "seed was 7, is 8"),
        (replace(plan, training=replace(plan.training, epochs=9)), "training.epochs was 3, is 9"),
        (replace(plan, architecture=replace(plan.architecture, embedding=16)), "architecture.embedding was 8, is 16"),
        (replace(plan, precision="bfloat16"), "precision was float32, is bfloat16"),
    ):
        with pytest.raises(CheckpointError, match=named):
            store_null_model(other)
    assert plan.null_path().read_bytes() == before[0]


def test_loaded_models_know_the_patients_they_have_seen(plan: SourcePlan, cohort: Cohort) -> None:
    train_cohort(plan, cohort, FOLDS)
    loaded = load_source_models(plan, "acc", [2, 0])
    assert (loaded.cohort, loaded.folds) == ("acc", (2, 0))
    for fold, seen, model in zip(loaded.folds, loaded.seen, loaded.models, strict=True):
        assert set(seen) == digests((*cohort.folds[fold].train, *cohort.folds[fold].validation))
        assert equal(model.state_dict(), weights(plan, fold))
        assert not model.training
    assert loaded.fingerprint == source_fingerprint(plan, cohort, [2, 0])


def test_validation_patients_do_not_train_but_count_as_seen(plan: SourcePlan, small_study: Callable) -> None:
    study = small_study("acc")
    cohort = open_study(study.folder).cohorts["acc"]
    fold = cohort.folds[0]
    lines = ["train,test,validation"]
    kept, held = fold.train[2:], fold.train[:2]
    for number, patient in enumerate(kept):
        test = fold.test[number] if number < len(fold.test) else ""
        lines.append(f"{patient},{test},{held[number] if number < 2 else ''}")
    study.split("acc", 0).write_text("\n".join(lines) + "\n")
    (card,) = train_cohort(plan, open_study(study.folder).cohorts["acc"], [0])
    assert set(card.train_patients) == digests(kept)
    assert set(load_source_models(plan, "acc", [0]).seen[0]) == digests((*kept, *held))


def test_a_model_of_another_architecture_or_a_missing_one_is_refused(plan: SourcePlan, cohort: Cohort) -> None:
    train_cohort(plan, cohort, [0])
    with pytest.raises(CheckpointError, match="is asked for"):
        load_source_models(replace(plan, architecture=replace(plan.architecture, dropout=0.0)), "acc", [0])
    with pytest.raises(CheckpointError, match="missing"):
        load_source_models(plan, "acc", [1])


def test_a_fold_whose_training_patients_have_no_readable_slide_is_named(
    plan: SourcePlan, small_study: Callable
) -> None:
    study = small_study("acc")
    fold = open_study(study.folder).cohorts["acc"].folds[1]
    for patient, slide, *_ in study.rows("acc")[1:]:
        if patient in fold.train:
            study.write_slide("ACC", slide, np.full((2, DIM), np.nan, np.float32))
    cohort = open_study(study.folder).cohorts["acc"]
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(StudyError, match="acc, fold 1: no training patient has readable features"),
    ):
        train_cohort(plan, cohort, [1])


def test_a_slide_left_out_is_on_the_card(plan: SourcePlan, small_study: Callable) -> None:
    study = small_study("acc")
    patient, slide = study.rows("acc")[1][:2]
    study.write_slide("ACC", slide, np.full((3, DIM), np.inf, np.float32))
    cohort = open_study(study.folder).cohorts["acc"]
    with pytest.warns(UserWarning, match=slide):
        cards = train_cohort(plan, cohort, FOLDS)
    assert all(card.skipped_slides == (slide,) for card in cards)
    digest = person_digest(patient)
    assert all(digest in card.train_patients or patient in cohort.folds[card.fold].test for card in cards)
    with pytest.raises(StudyError, match=slide):
        train_cohort(replace(plan, strict=True), cohort, FOLDS)


def test_models_of_another_loss_are_scored_and_loaded_with_it(tmp_path: Path, small_study: Callable) -> None:
    cohort = open_study(small_study("acc", patients=40).folder).cohorts["acc"]
    plan = small_plan(tmp_path / "cox", loss="cox_nll")
    store_null_model(plan)
    (card,) = train_cohort(plan, cohort, [0])
    (model,) = load_source_models(plan, "acc", [0]).models
    assert model.reading() == TrainedWith("cox_nll", "float32")
    bags = read_bags(cohort)
    test = bags.take([bags.patients.index(patient) for patient in cohort.folds[0].test])
    labels = cohort.labels.loc[list(test.patients)]
    c_index = {}
    for loss in ("cox_nll", "discrete_nll"):
        model.trained_with = TrainedWith(loss, "float32")
        c_index[loss] = concordance(labels["time"], labels["event"], predict([model], test).risk[0]).c_index
    assert card.test_c_index == c_index["cox_nll"] != c_index["discrete_nll"]


def test_cohorts_draw_orders_and_dropout_of_their_own(plan: SourcePlan, cohort: Cohort) -> None:
    """The same slides and labels under another name are another source."""
    train_cohort(plan, cohort, [0])
    train_cohort(plan, replace(cohort, info=cohort_info("uvm")), [0])
    assert not equal(weights(plan, 0), load_model(plan.model_path("uvm", 0)).state_dict())


def test_cards_are_plain_json(plan: SourcePlan, cohort: Cohort) -> None:
    train_cohort(plan, cohort, [0])
    card = json.loads(card_path(plan.model_path("acc", 0)).read_text())
    assert card["architecture"]["features"] == DIM
    assert set(card["versions"]) >= {"cropkt", "torch", "python"}
    text = card_path(plan.model_path("acc", 0)).read_text()
    assert not any(patient in text for patient in cohort.labels.index), "a card may be shared: it names no patient"


@pytest.mark.parametrize("damage", ["zeros", "cut", "empty", "card []", "card {}", "card cut", "card of another"])
def test_a_damaged_model_is_trained_again(plan: SourcePlan, cohort: Cohort, damage: str) -> None:
    """Zeros keep the file's size and leave it a valid safetensors file: only the digest tells."""
    train_cohort(plan, cohort, [0, 1])
    path = plan.model_path("acc", 0)
    whole, card = path.read_bytes(), card_path(path).read_bytes()
    if damage == "zeros":
        header = 8 + int.from_bytes(whole[:8], "little")
        path.write_bytes(whole[:header] + bytes(len(whole) - header))
        load_file(path)
    elif damage in ("cut", "empty"):
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    elif damage == "card of another":
        card_path(path).write_bytes(card_path(plan.model_path("acc", 1)).read_bytes())
    else:
        card_path(path).write_bytes({"card []": b"[]", "card {}": b"{}", "card cut": card[:100]}[damage])
    assert missing_folds(plan, cohort, [0, 1]) == [0]
    with pytest.raises(CheckpointError, match=str(path)):
        load_source_models(plan, "acc", [0])
    train_cohort(plan, cohort, [0])
    assert path.read_bytes() == whole
    assert missing_folds(plan, cohort, [0, 1]) == []


def test_a_damaged_common_start_is_made_again(plan: SourcePlan) -> None:
    whole = plan.null_path().read_bytes()
    plan.null_path().write_bytes(bytes(len(whole)))
    store_null_model(plan)
    assert plan.null_path().read_bytes() == whole
