"""What holds for every architecture: bags apart, models together, learning, precision."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.data.streams.stream import BagStream
from cropkt.data.streams.tiles import LongBag
from cropkt.errors import StudyError
from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel, TrainedWith, forward_together
from cropkt.models.precision import matmul_precision
from cropkt.models.predict import predict
from cropkt.survival.concordance import concordance
from cropkt.survival.losses import SurvivalTargets
from cropkt.training.config import TrainingConfig
from cropkt.training.loop import FoldTraining, train_folds

SMALL = {"features": 6, "embedding": 16, "attention": 5, "intervals": 4}
LENGTHS = [3, 1, 26, 7, 2]
CANNOT_MATTER = {"attention_net.attention_c.bias", "attention_net.module.3.bias"}  # before a softmax

NEED_WHOLE_BAGS = {"transmil"}

pytestmark = pytest.mark.parametrize("name", ARCHITECTURES)


def some_bags() -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    return torch.randn(int(offsets[-1]), 6, generator=torch.Generator().manual_seed(1)), offsets


def model(name: str, seed: int = 3, **changes: object) -> MILModel:
    return build_null_model(Architecture(name=name, **{**SMALL, **changes}), seed).eval()


@torch.inference_mode()
def test_a_bag_does_not_see_its_neighbours(name: str) -> None:
    features, offsets = some_bags()
    network = model(name)
    together = network(features, offsets)
    assert together.representation.shape == (len(LENGTHS), 16)
    assert together.attention.shape == (len(features),)
    for bag, length in enumerate(LENGTHS):
        own = slice(offsets[bag], offsets[bag + 1])
        alone = network(features[own], torch.tensor([0, length]))
        torch.testing.assert_close(together.logits[bag], alone.logits[0])
        torch.testing.assert_close(together.representation[bag], alone.representation[0])
        torch.testing.assert_close(together.attention[own], alone.attention)
        if name != "transmil":
            assert float(alone.attention.sum()) == pytest.approx(1, abs=1e-6)


@torch.inference_mode()
def test_the_order_of_patches_matters_to_transmil_alone(name: str) -> None:
    features, _ = some_bags()
    network = model(name)
    whole = torch.tensor([0, len(features)])
    mixed = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(2))]
    same = torch.allclose(network(features, whole).logits, network(mixed, whole).logits, atol=1e-6)
    assert same == (name != "transmil")


@torch.inference_mode()
@pytest.mark.parametrize("layers", [1, 2])
def test_models_together_are_the_models_one_by_one(name: str, layers: int) -> None:
    features, offsets = some_bags()
    networks = [model(name, seed, projection_layers=layers) for seed in range(5)]
    for one, together in zip(networks, forward_together(networks, features, offsets), strict=True):
        for plain, wide in zip(one(features, offsets), together, strict=True):
            torch.testing.assert_close(wide, plain)


@torch.inference_mode()
def test_bfloat16_products_keep_float32_results(name: str) -> None:
    features, offsets = some_bags()
    network = model(name)
    exact = network(features, offsets)
    with matmul_precision("bfloat16", "cpu"):
        rounded = network(features, offsets)
    assert {output.dtype for output in rounded} == {torch.float32}
    torch.testing.assert_close(rounded.logits, exact.logits, atol=0.02, rtol=0.02)


def long_bags() -> Bags:
    """Bags of which some are longer than the parts of the next test, one by a single patch."""
    lengths = torch.tensor([3, 900, 1, 257, 256, 40])
    features = torch.randn(int(lengths.sum()), 6, generator=torch.Generator().manual_seed(1)) * 3
    return Bags(tuple("abcdef"), features, torch.cat([torch.tensor([0]), lengths.cumsum(0)]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bags_in_parts_are_the_bags_as_a_whole(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the rounding of sums in another order: 1e-5 in risk, in float32 and with bfloat16 products."""
    networks = [model(name, seed) for seed in range(2)]
    for network in networks:
        network.trained_with = TrainedWith("discrete_nll", precision)
    bags = long_bags()
    whole = predict(networks, bags)
    parts = 0
    original = Bags.tiles

    def cut(self: Bags, patches: int, longest: int | None) -> Iterator[Bags | LongBag]:
        nonlocal parts
        for tile in original(self, patches, None if longest is None else 256):
            parts += isinstance(tile, LongBag)
            yield tile

    monkeypatch.setattr(Bags, "tiles", cut)
    in_parts = predict(networks, bags)
    assert parts == (0 if name in NEED_WHOLE_BAGS else 2)
    for kind, tolerance in (("risk", 1e-5), ("hazard", 1e-6), ("representation", 1e-5)):
        np.testing.assert_allclose(getattr(in_parts, kind), getattr(whole, kind), atol=tolerance, rtol=1e-5)


def test_an_architecture_that_needs_whole_bags_says_what_it_needs(name: str) -> None:
    network = model(name)
    network.trained_with = TrainedWith("discrete_nll", "float32")
    slides = [("p", "s", "not read", 100_000)]
    bags = BagStream("acc", slides, 6, torch.float32, memory=10**6)
    if name not in NEED_WHOLE_BAGS:
        assert network.accumulator() is not None
        return
    assert network.whole_bag_bytes(100_000) > 10**6
    with pytest.raises(StudyError, match=r"acc: \w+ on 100,000 patches needs .* MB of memory and may fill 1 MB"):
        predict([network], bags)


def test_every_weight_learns(name: str) -> None:
    features, offsets = some_bags()
    network = model(name).train()
    network(features, offsets).logits.square().sum().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert parameter in CANNOT_MATTER or float(value.grad.abs().max()) > 0, parameter


def test_dropout_acts_in_training_only_and_follows_the_seed(name: str) -> None:
    features, offsets = some_bags()
    network = model(name, dropout=0.5, projection_layers=2)

    def logits(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return network(features, offsets).logits.detach()

    assert torch.equal(logits(0), logits(1))
    network.train()
    assert torch.equal(logits(0), logits(0))
    assert not torch.allclose(logits(0), logits(1))


def test_an_empty_bag_and_wrong_offsets_are_refused(name: str) -> None:
    features, _ = some_bags()
    with pytest.raises(ValueError, match="at least one patch"):
        model(name)(features, torch.tensor([0, 3, 3, len(features)]))
    with pytest.raises(ValueError, match="there are 39 patches"):
        model(name)(features, torch.tensor([0, 3, 7]))


def test_it_learns_which_patches_kill(name: str) -> None:
    """Time to death follows the mean of one feature over a patient's patches; 32 patients train, 48 are scored."""
    random = np.random.default_rng(4)
    lengths = random.integers(4, 10, 80)
    level = random.normal(size=80)
    features = torch.from_numpy(random.normal(size=(lengths.sum(), 6)).astype(np.float32))
    features[:, 0] = 0.5 * features[:, 0] + torch.from_numpy(np.repeat(level, lengths)).float()
    bags = Bags(tuple(map(str, range(80))), features, torch.tensor([0, *lengths]).cumsum(0))
    event = torch.ones(80, dtype=torch.int64)
    targets = SurvivalTargets(torch.from_numpy(-level), event, torch.from_numpy(np.argsort(np.argsort(-level)) // 20))
    network = model(name, dropout=0.1)

    config = TrainingConfig(epochs=12, learning_rate=1e-2, bags_per_update=8)
    train_folds([FoldTraining(0, network, np.arange(32))], bags, targets, config, seed=0, stream="acc")

    unseen = slice(32, 80)
    risk = predict([network], bags).risk[0]
    assert concordance(-level[unseen], event[unseen].numpy(), risk[unseen]).c_index > 0.75
