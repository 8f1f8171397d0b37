"""Dropout by bytes, and one mask on a product of two branches, against dropout as it is defined."""

import pytest
import torch
import torch.nn.functional as F

from cropkt.models.layers.dropout import kept_like
from cropkt.models.pooled import GatedAttention

DRAWS = 4000


@pytest.mark.parametrize("keep", [0.5625, 0.75, 0.3, 0.01])
def test_entries_are_kept_at_the_rate_asked_for(keep: float) -> None:
    torch.manual_seed(0)
    mask = kept_like(torch.empty(1000, 1003), keep)
    assert set(mask.unique().tolist()) == {0, 1}
    error = (keep * (1 - keep) / mask.numel()) ** 0.5
    assert mask.mean().item() == pytest.approx(keep, abs=4 * error)
    neighbours = (mask[:, 1:] * mask[:, :-1]).mean().item()
    assert neighbours == pytest.approx(keep**2, abs=6 * error), "entries are independent"


@pytest.mark.parametrize("keep", [0.5625, 0.3])
def test_a_mask_is_its_seeds_and_has_the_type_of_what_it_masks(keep: float) -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(kept_like(torch.empty(7, 5, dtype=torch.bfloat16), keep))
    assert masks[0].dtype == torch.bfloat16
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@torch.inference_mode()
def test_one_mask_on_the_product_has_the_mean_and_variance_of_two() -> None:
    """Against both branches dropped by torch's own dropout, and against the exact mean and variance.

    Of products p_i with weights w_i, each kept with probability k and scaled by 1 / k, the score's mean is sum w_i p_i
    (plus the bias), its variance sum (w_i p_i)^2 (1 - k) / k.
    """
    torch.manual_seed(0)
    net = GatedAttention(6, 16, 0.25).double()
    patches = torch.randn(5, 6, dtype=torch.float64)
    a, b = net.attention_a(patches), net.attention_b(patches)
    weight, bias = net.attention_c.weight[0], net.attention_c.bias
    ours = torch.stack([net.train()(patches) for _ in range(DRAWS)])
    two = torch.stack([(F.dropout(a, 0.25) * F.dropout(b, 0.25)) @ weight + bias for _ in range(DRAWS)])
    exact_mean = (a * b) @ weight + bias
    exact_variance = ((a * b * weight) ** 2).sum(1) * (1 - 0.75**2) / 0.75**2
    for found in (ours, two):
        error = (exact_variance / DRAWS).sqrt()
        assert ((found.mean(0) - exact_mean).abs() < 4 * error).all()
        torch.testing.assert_close(found.var(0), exact_variance, rtol=0.12, atol=0)
    torch.testing.assert_close(net.eval()(patches), exact_mean)


def test_the_gradient_passes_where_the_product_was_kept() -> None:
    """With all products equal and kept ones known from the score, gradients are those of the kept products, scaled."""
    net = GatedAttention(4, 8, 0.25).double().train()
    patches = torch.randn(50, 4, dtype=torch.float64)
    torch.manual_seed(3)
    net(patches).sum().backward()
    torch.manual_seed(3)
    mask = kept_like(torch.empty(50, 8, dtype=torch.float64), 0.75**2)
    product = net.attention_a(patches) * net.attention_b(patches)
    torch.testing.assert_close(net.attention_c.weight.grad, ((product * mask).sum(0) / 0.75**2)[None].detach())
