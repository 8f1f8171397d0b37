"""Router and fusions: what follows from their definition, beside the published numbers (tests/parity)."""

from dataclasses import replace

import pytest
import torch

from cropkt.errors import ConfigError
from cropkt.models.fusion import FusionSettings, build_fusion
from cropkt.models.fusions import FUSIONS
from cropkt.models.router import Router, RouterOutput, RouterSettings, routing_penalty

BAGS, EXPERTS, VECTOR = 3, 4, 8
SETTINGS = RouterSettings(embedding=6, attention=5, dropout=0.0, top_k=2)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=random)
    return features, torch.tensor([0, 3, 7, 12]), torch.randn(BAGS, EXPERTS, VECTOR, generator=random)


def router(settings: RouterSettings = SETTINGS) -> Router:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Router(settings, width=5, n_experts=EXPERTS, vector=VECTOR, intervals=7).eval()


@pytest.mark.parametrize("top_k", [1, 2, 4, 9])
def test_gates_are_the_largest_probabilities_as_they_are(top_k: int) -> None:
    with torch.inference_mode():
        output = router(replace(SETTINGS, top_k=top_k)).route(*inputs())
    assert output.probabilities.sum(dim=1).tolist() == pytest.approx([1] * BAGS)
    chosen = output.gates > 0
    assert chosen.sum(dim=1).tolist() == [min(top_k, EXPERTS)] * BAGS
    assert torch.equal(output.gates[chosen], output.probabilities[chosen])
    assert (
        output.probabilities.where(chosen, 0).max(dim=1).values.tolist() == output.probabilities.max(1).values.tolist()
    )


def test_renormalised_gates_sum_to_one() -> None:
    output = router(replace(SETTINGS, renormalise=True)).route(*inputs())
    assert output.gates.sum(dim=1).tolist() == pytest.approx([1] * BAGS)


def test_a_bag_is_routed_by_its_own_patches_alone() -> None:
    features, offsets, vectors = inputs()
    together = router().route(features, offsets, vectors)
    alone = router().route(features[3:7], torch.tensor([0, 4]), vectors[1:2])
    torch.testing.assert_close(together.logits[1:2], alone.logits)


def test_temperature_flattens_and_noise_acts_in_training_only() -> None:
    cold, hot = (router(replace(SETTINGS, temperature=t)).route(*inputs()).probabilities for t in (0.1, 10.0))
    assert (cold.max(dim=1).values > hot.max(dim=1).values).all()
    noisy = router(replace(SETTINGS, noise=1.0))
    assert torch.equal(noisy.route(*inputs()).logits, router().route(*inputs()).logits)
    noisy.train()
    assert not torch.equal(noisy.route(*inputs()).router_logits, noisy.route(*inputs()).router_logits)


def test_balance_over_an_update_is_least_when_bags_choose_different_experts() -> None:
    def penalty(probabilities: list[list[float]], over: str) -> float:
        given = torch.tensor(probabilities)
        output = RouterOutput(given, given, given.log(), given, given)
        return float(routing_penalty(output, replace(SETTINGS, balance_over=over, balance_weight=1.0, z_weight=0.0)))

    apart, alike = [[0.8, 0.2], [0.2, 0.8]], [[0.8, 0.2], [0.8, 0.2]]
    assert penalty(apart, "update") == pytest.approx(0.5)  # 2 experts: mean probability .5 x share .5, twice
    assert penalty(alike, "update") == pytest.approx(0.8)
    assert penalty(apart, "bag") == penalty(alike, "bag") == pytest.approx(0.8), "the release cannot tell them apart"


def test_z_loss_is_the_squared_logsumexp() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    output = RouterOutput(logits, logits, logits, logits.softmax(1), logits)
    settings = replace(SETTINGS, balance_weight=0.0, z_weight=1.0)
    expected = (torch.tensor(2.0).log() ** 2 + (1 + torch.tensor(2.0).log()) ** 2) / 2
    assert float(routing_penalty(output, settings)) == pytest.approx(float(expected))


@pytest.mark.parametrize("projection", ["mlp", "identity"])
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_fusion_reads_the_experts_it_says(kind: str, projection: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fusion = build_fusion(
            FusionSettings(kind, projection, attention=5), n_experts=EXPERTS, vector=VECTOR, intervals=7
        ).eval()
    vectors = inputs()[2].clone().requires_grad_()
    fusion(vectors).logits.sum().backward()
    assert vectors.grad is not None
    read = (vectors.grad.abs().sum(dim=(0, 2)) > 0).tolist()
    assert read == [True, *[kind != "own"] * (EXPERTS - 1)]


def test_the_released_gru_reads_the_last_expert_alone() -> None:
    settings = FusionSettings("gru", "identity", released_gru=True)
    vectors = inputs()[2].clone().requires_grad_()
    build_fusion(settings, n_experts=EXPERTS, vector=VECTOR, intervals=7)(vectors).logits.sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(dim=(0, 2)) > 0).tolist() == [False] * (EXPERTS - 1) + [True]


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (RouterSettings, {"top_k": 0}, "top_k is 0"),
        (RouterSettings, {"temperature": 0.0}, "temperature is 0.0"),
        (RouterSettings, {"expert_network": "cnn"}, "'cnn' is unknown"),
        (RouterSettings, {"dropout": 1.0}, "dropout is 1.0"),
        (FusionSettings, {"fusion": "sum"}, "'sum' is unknown"),
        (FusionSettings, {"attention": 0}, "attention is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: type, changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**changes)
