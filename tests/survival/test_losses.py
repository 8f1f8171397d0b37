"""Losses against values worked out by hand, and their gradients where probabilities run out of digits."""

import math
from functools import partial

import pytest
import torch

from cropkt.survival.discrete import likelihood
from cropkt.survival.discrete.risk import hazard, incidence_survival, risk, survival
from cropkt.survival.losses.cox_nll import cox_nll
from cropkt.survival.losses.discrete_nll import discrete_nll
from cropkt.survival.losses.incidence_nll import incidence_nll

LOG2 = math.log(2)
LOSSES = [discrete_nll, incidence_nll]


def test_even_odds_cost_one_bit_an_interval() -> None:
    """Hazard one half: dying in interval b means b survived and one not, so b + 1 bits."""
    logits = torch.zeros(4, 4, dtype=torch.float64)
    interval, event = torch.tensor([0, 2, 0, 2]), torch.tensor([1, 1, 0, 0])
    bits = discrete_nll(logits, interval, event, alpha=0.0) / LOG2
    assert bits.tolist() == pytest.approx([1, 3, 1, 3])
    halved = discrete_nll(logits, interval, event, alpha=0.5) / LOG2
    assert halved.tolist() == pytest.approx([1, 3, 0.5, 1.5])


def test_even_incidence_is_one_in_four_an_interval() -> None:
    logits = torch.zeros(4, 4, dtype=torch.float64)
    interval, event = torch.tensor([0, 3, 0, 2]), torch.tensor([1, 1, 0, 0])
    loss = incidence_nll(logits, interval, event, alpha=0.0)
    assert loss.tolist() == pytest.approx([math.log(4), math.log(4), math.log(4 / 3), math.log(4)])
    assert float(incidence_nll(logits, torch.full((4,), 3), torch.zeros(4), alpha=0.0)[0]) == pytest.approx(
        -math.log(1e-7)
    ), "nothing is left after the last interval: the clamp decides"


def test_cox_counts_who_is_still_at_risk() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    time = torch.tensor([1.0, 2.0, 3.0])
    assert float(cox_nll(zero, time, torch.tensor([1, 1, 1]))) == pytest.approx((math.log(3) + LOG2) / 3)
    assert float(cox_nll(zero, time, torch.tensor([0, 1, 0]))) == pytest.approx(LOG2 / 3)
    assert float(cox_nll(zero, time, torch.tensor([0, 0, 0]))) == 0
    tied = torch.tensor([2.0, 2.0, 3.0])
    assert float(cox_nll(zero, tied, torch.tensor([1, 1, 0]))) == pytest.approx(2 * math.log(3) / 3), "Breslow"


def test_cox_is_cut_at_ten() -> None:
    log_risk = torch.tensor([12.0, 3.0], dtype=torch.float64, requires_grad=True)
    value = cox_nll(log_risk, torch.tensor([1.0, 2.0]), torch.tensor([1, 0]))
    value.backward()
    assert value.item() == pytest.approx(math.log(1 + math.exp(-7)) / 2)
    assert log_risk.grad is not None
    assert log_risk.grad[0] == 0
    assert log_risk.grad[1] > 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_logits_have_finite_losses_and_gradients(loss, size: float, sign: int) -> None:
    logits = torch.linspace(-1, 1, 32).mul(sign * size).repeat(4, 1).requires_grad_()
    value = loss(logits, torch.tensor([0, 31, 0, 31]), torch.tensor([1, 1, 0, 0]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (value >= 0).all()
    assert value.max() <= -2 * math.log(1e-7) + 1e-4
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_learning_a_death_raises_the_risk_and_learning_survival_lowers_it(loss) -> None:
    """Holds loss and risk to one direction: a step down the loss of an early death must make the patient riskier."""

    def risk_after(event: int, interval: int) -> tuple[float, float]:
        logits = torch.zeros(1, 8, dtype=torch.float64, requires_grad=True)
        loss(logits, torch.tensor([interval]), torch.tensor([event])).sum().backward()
        assert logits.grad is not None
        after = logits.detach() - logits.grad
        curves = [
            survival(hazard(value)) if loss is discrete_nll else incidence_survival(value)
            for value in (logits.detach(), after)
        ]
        return float(risk(curves[0])), float(risk(curves[1]))

    before, after = risk_after(event=1, interval=0)
    assert after > before
    before, after = risk_after(event=0, interval=6)
    assert after < before


def test_survival_and_risk_by_hand() -> None:
    curve = survival(torch.tensor([[0.5, 0.5], [0.0, 1.0]], dtype=torch.float64))
    assert curve.tolist() == [[0.5, 0.25], [1.0, 0.0]]
    assert risk(curve).tolist() == [-0.75, -1.0], "who survives less has the higher risk"
    assert incidence_survival(torch.zeros(4, dtype=torch.float64)).tolist() == pytest.approx([0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize("size", [1.0, 4.0, 40.0], ids=["usual", "large", "hazards of exactly 1"])
def test_the_curves_gradient_is_torchs_own(size: float) -> None:
    """torch's cumprod knows what to do with zeros; the likelihood's clamp makes them cost nothing."""
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(40, 32, generator=random) * size
    interval, event = torch.randint(0, 32, (40,), generator=random), torch.arange(40) % 2
    gradients = []
    clamped = partial(likelihood.clamped_log, eps=1e-7)
    for curve in (likelihood.survival_curve, lambda rate: (1 - rate).cumprod(dim=1)):
        value = logits.clone().requires_grad_()
        index, rate = interval[:, None], hazard(value)
        products = curve(rate)
        before = torch.cat([torch.ones_like(products[:, :1]), products], dim=1)
        died = -clamped(before.gather(1, index)) - clamped(rate.gather(1, index))
        likelihood.weigh_censored(died, -clamped(products.gather(1, index)), event, 0.5).mean().backward()
        gradients.append(value.grad)
    ones = bool((hazard(logits) == 1).any())
    assert ones == (size == 40.0)
    if ones:  # torch takes another way then, with other rounding
        torch.testing.assert_close(*gradients)
    else:
        assert torch.equal(*gradients)
