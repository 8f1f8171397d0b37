"""The training loop: the same numbers whoever trains beside, whole and partial updates, and what ends it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.errors import ConfigError
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, TrainingError, shuffled, survival_loss, train_folds

CONFIG = TrainingConfig(epochs=3, bags_per_update=4, learning_rate=1e-2)
PATIENTS = 11


def cohort(patients: int = PATIENTS, seed: int = 0) -> tuple[Bags, SurvivalTargets]:
    """Bags whose first feature says how dangerously the patient lives; a quarter is censored at random."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 6, patients)
    danger = random.normal(size=patients)
    features = random.normal(size=(lengths.sum(), 6)) * 0.3
    features[:, 0] += np.repeat(danger, lengths)
    death = random.exponential(np.exp(-2 * danger)) * 1500
    leaves = random.exponential(6000, patients)
    time = np.minimum(death, leaves)
    interval = np.minimum(time // 365, 15).astype(np.int64)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    targets = SurvivalTargets(
        torch.from_numpy(time), torch.from_numpy((death <= leaves).astype(np.int64)), torch.from_numpy(interval)
    )
    return Bags(tuple(f"p{k}" for k in range(patients)), torch.from_numpy(features).float(), offsets), targets


def job(fold: int, train: list[int] | np.ndarray) -> FoldTraining:
    start = build_null_model(Architecture(features=6, embedding=8, attention=5, intervals=16), seed=1)
    return FoldTraining(fold, start, np.asarray(train))


def trained(*jobs: FoldTraining, config: TrainingConfig = CONFIG, seed: int = 7) -> tuple[FoldTraining, ...]:
    bags, targets = cohort()
    train_folds(jobs, bags, targets, config, seed=seed, stream="acc")
    return jobs


def same(one: MILModel, other: MILModel) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    (first,), (second,), (other,) = (trained(job(0, range(8)), seed=seed) for seed in (7, 7, 8))
    assert same(first.model, second.model)
    assert first.losses == second.losses
    assert not same(first.model, other.model)


def test_the_callers_random_state_neither_matters_nor_changes() -> None:
    torch.manual_seed(1)
    (first,) = trained(job(0, range(8)))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    (second,) = trained(job(0, range(8)))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first.model, second.model)


def test_a_fold_trained_alone_equals_the_fold_trained_beside_others() -> None:
    (alone,) = trained(job(1, [0, 2, 3, 5, 8, 9, 10]))
    beside = trained(job(0, [0, 1, 2]), job(1, [0, 2, 3, 5, 8, 9, 10]), job(2, range(PATIENTS)))[1]
    assert same(alone.model, beside.model)
    assert (alone.losses, alone.rates) == (beside.losses, beside.rates)


def test_folds_differ_in_their_dropout() -> None:
    first, second = trained(job(0, range(8)), job(1, range(8)))
    assert not same(first.model, second.model)


def test_a_partial_update_is_kept_by_default_and_dropped_on_request() -> None:
    (kept,) = trained(job(0, range(10)))
    (dropped,) = trained(job(0, range(10)), config=replace(CONFIG, drop_partial_update=True))
    assert len(kept.losses) == 3 * 3
    assert len(dropped.losses) == 3 * 2


def test_an_epoch_meets_every_training_bag_once_and_no_other() -> None:
    bags, targets = cohort()
    seen: list[list[str]] = []

    class Watched(Bags):
        def take(self, indices):
            seen[-1] += [self.patients[index] for index in indices]
            return super().take(indices)

    watched = Watched(bags.patients, bags.features, bags.offsets)
    seen.append([])
    train_folds(
        [job(0, [1, 4, 5, 6, 7, 9])],
        watched,
        targets,
        CONFIG,
        seed=7,
        stream="acc",
        report=lambda _epoch: seen.append([]),
    )
    epochs = seen[:3]
    assert [sorted(epoch) for epoch in epochs] == [sorted(f"p{k}" for k in (1, 4, 5, 6, 7, 9))] * 3
    assert epochs[0] != epochs[1], "shuffled anew"


def test_what_a_forward_adds_to_the_loss_is_learnt_but_not_told() -> None:
    bags, targets = cohort()

    def trained_with(weight: float) -> FoldTraining:
        (one,) = jobs = [job(0, range(8))]

        def forward(batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            part = bags.take(batch)
            penalty = weight * one.model.pred_head.weight.square().sum()
            return one.model(part.features, part.offsets).logits, penalty

        one.forward = forward
        train_folds(jobs, bags, targets, CONFIG, seed=7, stream="acc")
        return one

    free, held_down = trained_with(0.0), trained_with(1e4)
    sizes = [float(one.model.pred_head.weight.detach().norm()) for one in (free, held_down)]
    assert sizes[1] < sizes[0]
    assert held_down.losses[0] == free.losses[0] < 1e3


def test_training_multiplies_in_the_precision_asked_for() -> None:
    bags, targets = cohort()
    exact, coarse = job(0, range(8)), job(0, range(8))
    train_folds([exact], bags, targets, CONFIG, seed=7, stream="acc")
    train_folds([coarse], bags, targets, CONFIG, seed=7, stream="acc", precision="bfloat16")
    assert exact.losses != coarse.losses
    np.testing.assert_allclose(exact.losses, coarse.losses, rtol=0.05)


def test_every_update_of_every_epoch_and_fold_has_a_dropout_of_its_own() -> None:
    bags, targets = cohort()
    draws: list[float] = []

    def forward_of(model: MILModel) -> Callable[[np.ndarray], tuple[torch.Tensor, None]]:
        def forward(batch: np.ndarray) -> tuple[torch.Tensor, None]:
            draws.append(float(torch.rand(())))
            part = bags.take(batch)
            return model(part.features, part.offsets).logits, None

        return forward

    jobs = [job(fold, range(8)) for fold in (0, 1)]
    for one in jobs:
        one.forward = forward_of(one.model)
    train_folds(jobs, bags, targets, CONFIG, seed=7, stream="acc")
    assert len(draws) == 2 * 3 * 2, "folds, epochs, updates"
    assert len(set(draws)) == len(draws)


def test_tiny_cohorts_train_and_the_published_protocol_says_that_it_cannot() -> None:
    (tiny,) = trained(job(0, [3, 4]), config=replace(CONFIG, bags_per_update=16))
    assert len(tiny.losses) == 3
    assert not same(tiny.model, job(0, []).model)
    with pytest.raises(ConfigError, match="2 training bags do not fill one update of 16"):
        trained(job(0, [3, 4]), config=replace(CONFIG, bags_per_update=16, drop_partial_update=True))


def test_the_first_update_has_rate_zero() -> None:
    (only_one,) = trained(job(0, range(4)), config=replace(CONFIG, epochs=1))
    assert only_one.rates == [0]
    assert same(only_one.model, job(0, []).model)


def test_a_loss_that_is_no_number_names_cohort_fold_and_epoch() -> None:
    bags, targets = cohort()
    bags.features[int(bags.offsets[3])] = torch.nan
    train_folds([job(1, [0, 1, 2])], bags, targets, CONFIG, seed=7, stream="acc")
    with pytest.raises(TrainingError, match="acc, fold 2, epoch 0: the loss is nan"):
        train_folds([job(2, [0, 1, 2, 3])], bags, targets, CONFIG, seed=7, stream="acc")


@pytest.mark.parametrize("loss", ["discrete_nll", "incidence_nll", "cox_nll"])
def test_training_teaches_who_dies_early(loss: str) -> None:
    """100 patients, the danger in plain sight: on 100 others of the same kind the model orders nearly as well as it."""
    bags, targets = cohort(100)
    config = TrainingConfig(epochs=16, bags_per_update=16, learning_rate=1e-2, loss=loss)
    learner = job(0, range(100))
    train_folds([learner], bags, targets, config, seed=7, stream="acc")
    assert np.mean(learner.losses[-5:]) < np.mean(learner.losses[:5])
    others, truth = cohort(100, seed=1)
    best = np.add.reduceat(others.features[:, 0].numpy(), others.offsets[:-1].numpy()) / others.lengths.numpy()
    risk = predict([learner.model], others).risk[0]
    found, possible = (concordance(truth.time.numpy(), truth.event.numpy(), value).c_index for value in (risk, best))
    assert possible > 0.75
    assert found > possible - 0.03


def test_the_losses_of_a_batch_are_those_of_its_bags() -> None:
    _, targets = cohort()
    logits = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    together = survival_loss(logits, targets, np.array([7, 2, 5]), CONFIG)
    alone = [survival_loss(logits[k : k + 1], targets, np.array([bag]), CONFIG) for k, bag in enumerate((7, 2, 5))]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_orders_are_named_by_cohort_and_epoch() -> None:
    orders = [
        shuffled(20, epoch, seed=seed, stream=stream).tolist()
        for seed, stream, epoch in ((7, "acc", 0), (7, "acc", 1), (7, "uvm", 0), (8, "acc", 0), (7, "acc", 0))
    ]
    assert orders[0] == orders[4]
    assert len({tuple(order) for order in orders}) == 4
    assert sorted(orders[0]) == list(range(20))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "training.epochs is 0"),
        ({"bags_per_update": 0}, "training.bags_per_update"),
        ({"learning_rate": 0.0}, "training.learning_rate"),
        ({"learning_rate": float("nan")}, "training.learning_rate"),
        ({"weight_decay": -1.0}, "training.weight_decay"),
        ({"censored_weight": 1.5}, "training.censored_weight"),
        ({"loss": "mse"}, "discrete_nll"),
        ({"schedule": "step"}, "cosine"),
    ],
)
def test_an_impossible_setting_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**change)
