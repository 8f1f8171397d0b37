"""What decays and what does not, seen on the weights after a step, and the rates of a whole run."""

import numpy as np
import pytest
import torch

from cropkt.models.architectures import ARCHITECTURES
from cropkt.models.checkpoint import build_null_model
from cropkt.models.mil import Architecture, MILModel
from cropkt.training.config import TrainingConfig
from cropkt.training.optimiser import build_optimiser, learning_rate, set_learning_rate


def model(name: str = "abmil") -> MILModel:
    return build_null_model(Architecture(features=6, name=name, embedding=8, attention=5, projection_layers=2), seed=3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_without_gradient_shrinks_weights_and_leaves_biases(name: str) -> None:
    """AdamW with a zero gradient does nothing but decay: w becomes (1 - rate x decay) w."""
    network = model(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = build_optimiser(network, TrainingConfig(learning_rate=0.1, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    weights = biases = 0
    for key, value in network.named_parameters():
        if value.ndim == 1:
            assert torch.equal(value, before[key]), key
            biases += 1
        elif key.endswith("weight"):
            torch.testing.assert_close(value.detach(), before[key] * (1 - 0.1 * 0.5), rtol=1e-6, atol=0)
            weights += 1
    assert weights >= 3
    assert biases >= 3


def test_frozen_parameters_are_not_touched() -> None:
    network = model()
    network.feat_proj.requires_grad_(False)
    optimiser = build_optimiser(network, TrainingConfig())
    held = {id(value) for group in optimiser.param_groups for value in group["params"]}
    assert not held & {id(value) for value in network.feat_proj.parameters()}
    assert {id(value) for value in network.pred_head.parameters()} <= held


def test_the_cosine_warms_up_from_zero_and_falls_to_nearly_zero() -> None:
    config = TrainingConfig(epochs=20, learning_rate=1e-3)
    rates = np.array([learning_rate(update, 4, config) for update in range(80)])
    assert rates[:5] == pytest.approx([0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert (np.diff(rates[4:]) < 0).all()
    assert rates[4 + 38] == pytest.approx(0.5e-3), "half of the peak in the middle of the cosine"
    assert 0 < rates[-1] < 1e-5


def test_without_warm_up_the_first_rate_is_the_peak_and_constant_stays_there() -> None:
    assert learning_rate(0, 4, TrainingConfig(warmup_epochs=0)) == 1e-4
    constant = TrainingConfig(schedule="constant")
    assert {learning_rate(update, 4, constant) for update in range(4, 80)} == {1e-4}


def test_a_rate_reaches_every_group() -> None:
    optimiser = build_optimiser(model(), TrainingConfig())
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]
