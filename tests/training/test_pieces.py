"""A batch in pieces learns what it learns whole, within any memory; and what a sample of patches is."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.models.checkpoint import build_null_model
from cropkt.models.layers.pooling import bags_of
from cropkt.models.mil import Architecture
from cropkt.models.names import ARCHITECTURE_NAMES
from cropkt.seeds import generator
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds
from cropkt.training.pieces import ROWS, filled_up, logits_of, pieces, sample_patches

CONFIG = TrainingConfig(epochs=3, bags_per_update=4, learning_rate=1e-2)
LENGTHS = np.array([3, 9, 1, 4, 4, 2, 7, 5])


def cohort() -> tuple[Bags, SurvivalTargets]:
    offsets = np.concatenate([[0], LENGTHS.cumsum()])
    features = torch.randn(int(LENGTHS.sum()), 6, generator=torch.Generator().manual_seed(0))
    features[:, 5] = torch.arange(len(features))  # each patch knows its row
    interval = torch.arange(len(LENGTHS))
    targets = SurvivalTargets(interval * 365.0, interval % 2, interval)
    return Bags(tuple(f"p{bag}" for bag in range(len(LENGTHS))), features, torch.from_numpy(offsets)), targets


def job(dropout: float = 0.25) -> FoldTraining:
    start = build_null_model(Architecture(features=6, embedding=8, attention=8, intervals=16, dropout=dropout), seed=1)
    return FoldTraining(0, start, np.arange(len(LENGTHS)))


def trained(learner: FoldTraining, config: TrainingConfig = CONFIG) -> FoldTraining:
    bags, targets = cohort()
    train_folds([learner], bags, targets, config, seed=7, stream="acc")
    return learner


NO_MATTER = ("attention_net.attention_c.bias",)
"""What cannot change the loss (softmax) has a gradient of rounding errors, which AdamW makes as large as any other."""


def gap(one: FoldTraining, other: FoldTraining, no_matter: tuple[str, ...] = NO_MATTER) -> float:
    """The largest difference of two weights that matter."""
    weights = other.model.state_dict()
    found = [
        (value - weights[name]).abs().max() for name, value in one.model.state_dict().items() if name not in no_matter
    ]
    return float(max(found))


def test_pieces_keep_the_order_and_a_long_bag_is_alone() -> None:
    batch = np.array([0, 1, 2, 3, 5, 6])
    assert [piece.tolist() for piece in pieces(batch, LENGTHS, 8)] == [[0], [1], [2, 3, 5], [6]]
    assert [piece.tolist() for piece in pieces(batch, LENGTHS, 1)] == [[bag] for bag in batch]
    assert [piece.tolist() for piece in pieces(batch, LENGTHS, 99)] == [batch.tolist()]


@pytest.mark.parametrize("architecture", ARCHITECTURE_NAMES)
def test_a_bag_of_zeros_that_fills_up_reaches_neither_logits_nor_gradients(architecture: str) -> None:
    bags, _ = cohort()
    shape = Architecture(name=architecture, features=6, embedding=16, attention=8, intervals=16, dropout=0.0)
    found = []
    for features, offsets in ((bags.features, bags.offsets), filled_up(bags.features, bags.offsets)):
        model = build_null_model(shape, seed=1).train()
        logits = model(features, offsets).logits[: len(bags)]
        logits.square().mean().backward()
        gradients = [weights.grad.flatten() for weights in model.parameters() if weights.grad is not None]
        found.append((len(features), logits.detach(), torch.cat(gradients)))
    (patches, logits, gradients), (filled, same_logits, same_gradients) = found
    assert (patches, filled) == (LENGTHS.sum(), ROWS)
    torch.testing.assert_close(same_logits, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(same_gradients, gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "asked"), [(torch.bfloat16, [ROWS, 9]), (torch.float32, [19, 9])])
def test_short_bags_are_filled_up_in_bfloat16_alone(dtype: torch.dtype, asked: list[int]) -> None:
    bags, _ = cohort()
    bags = replace(bags, features=bags.features.to(dtype))
    seen: list[int] = []

    def model(features: torch.Tensor, offsets: torch.Tensor) -> SimpleNamespace:
        seen.append(len(features))
        sums = [features[start:end].float().sum() for start, end in pairwise(offsets.tolist())]
        return SimpleNamespace(logits=torch.stack(sums)[:, None])

    parts = [np.array([0, 3, 4, 5, 2, 7]), np.array([1])]  # of 19 patches in six bags, and a bag of nine by itself
    logits = logits_of(model, (bags.take(part) for part in parts), recompute=False)  # type: ignore[arg-type]
    assert seen == asked
    sums = [bag.float().sum() for bag in bags_of(bags.features, bags.offsets)]
    torch.testing.assert_close(logits[:, 0], torch.stack(sums)[np.concatenate(parts)], rtol=1e-2, atol=1)


@pytest.mark.parametrize("loss", ["discrete_nll", "cox_nll"])
def test_how_a_batch_is_cut_changes_rounding_only(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout too: 8 attention units make rows of whole words, so that masks do not depend on the cut."""
    config = replace(CONFIG, loss=loss)
    whole = trained(job(), config)
    monkeypatch.setattr("cropkt.training.loop.PATCHES_PER_PIECE", {"cpu": 5})
    cut = trained(job(), config)
    assert gap(whole, job()) > 1e-2
    # Cox's likelihood does not see what is added to all log-risks.
    assert gap(whole, cut, (*NO_MATTER, *(["pred_head.bias"] if loss == "cox_nll" else []))) < 1e-5
    assert whole.losses == pytest.approx(cut.losses, abs=1e-5)


def test_out_of_memory_is_met_by_computing_again_to_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cropkt.training.loop.PATCHES_PER_PIECE", {"cpu": 5})
    plain, short = trained(job()), job()
    forward, calls = short.model.forward, []

    def in_little_memory(features: torch.Tensor, offsets: torch.Tensor) -> Any:
        calls.append(len(features))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("made up")
        return forward(features, offsets)

    monkeypatch.setattr(short.model, "forward", in_little_memory)
    trained(short)
    parts = (sum(calls) - sum(calls[:2])) / LENGTHS.sum() / CONFIG.epochs
    assert parts == 2, "from then on every piece is computed once forward and once more backward"
    assert gap(plain, short) == 0
    assert plain.losses == short.losses


def test_memory_that_is_short_even_so_is_an_error() -> None:
    learner = job()

    def forward(_batch: np.ndarray) -> Any:
        raise torch.OutOfMemoryError("made up")

    learner.forward = forward
    with pytest.raises(torch.OutOfMemoryError):
        trained(learner)


def test_a_sample_draws_each_patch_once_and_keeps_short_bags_whole() -> None:
    bags, _ = cohort()
    ends, chosen = bags.offsets.numpy(), np.array([6, 2, 1])
    draw = partial(generator, 7, "patches", "acc", 0)
    sample = sample_patches(bags, chosen, ends, 4, draw)
    assert sample.patients == ("p6", "p2", "p1")
    assert sample.offsets.tolist() == [0, 4, 5, 9]
    for place, bag in enumerate(chosen):
        rows = sample.features[sample.offsets[place] : sample.offsets[place + 1], 5].numpy()
        assert len(set(rows)) == len(rows) == min(4, LENGTHS[bag])
        assert (np.diff(rows) > 0).all()
        assert ends[bag] <= rows.min() <= rows.max() < ends[bag + 1]
    other = sample_patches(bags, chosen, ends, 4, partial(generator, 7, "patches", "acc", 1))
    assert not torch.equal(sample.features, other.features)


def test_sampling_more_than_there_is_changes_nothing_and_sampling_less_does() -> None:
    everything = trained(job())
    assert gap(everything, trained(job(), replace(CONFIG, patches_per_bag=9))) == 0
    few = trained(job(), replace(CONFIG, patches_per_bag=2))
    assert gap(everything, few) > 1e-3
    assert gap(few, trained(job(), replace(CONFIG, patches_per_bag=2))) == 0
