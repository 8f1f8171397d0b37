"""Pooling, and attention by landmarks, against the plain way of computing them."""

import pytest
import torch

from cropkt.models.layers.nystrom import NystromAttention
from cropkt.models.layers.pooling import attention_pool, max_pool, mean_pool, membership


def test_membership_says_whose_patch_it_is() -> None:
    assert membership(torch.tensor([0, 1, 3]), 3).tolist() == [[True, False, False], [False, True, True]]


def test_attention_and_mean_pool_each_bag_by_itself() -> None:
    torch.manual_seed(0)
    score, embedding = 9 * torch.randn(12), torch.randn(12, 5)
    offsets = torch.tensor([0, 1, 8, 12])
    representation, attention = attention_pool(score, embedding, offsets)
    means, equal = mean_pool(embedding, offsets)
    for bag, (start, end) in enumerate([(0, 1), (1, 8), (8, 12)]):
        weight = score[start:end].exp() / score[start:end].exp().sum()
        torch.testing.assert_close(attention[start:end], weight)
        torch.testing.assert_close(representation[bag], (weight[:, None] * embedding[start:end]).sum(0))
        torch.testing.assert_close(means[bag], embedding[start:end].mean(0))
        torch.testing.assert_close(equal[start:end], torch.full((end - start,), 1 / (end - start)))


def test_attention_pools_in_the_precision_of_the_score() -> None:
    """15 patches of 1 and one of 1.0078, the next bfloat16: their mean lies between two bfloat16."""
    embedding = torch.ones(16, 1, dtype=torch.bfloat16)
    embedding[0] += 0.0078125
    representation, _ = attention_pool(torch.zeros(16), embedding, torch.tensor([0, 16]))
    assert representation.item() == pytest.approx(1 + 0.0078125 / 16, abs=1e-6)


def test_the_devices_two_ways_of_pooling_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    score, embedding, offsets = torch.randn(12), torch.randn(12, 5), torch.tensor([0, 1, 8, 12])
    found = attention_pool(score, embedding, offsets)
    monkeypatch.setattr("cropkt.models.layers.pooling.BAG_BY_BAG", ())
    for ours, dense in zip(found, attention_pool(score, embedding, offsets), strict=True):
        torch.testing.assert_close(ours, dense)


def test_max_pooling_counts_the_features_a_patch_wins() -> None:
    embedding = torch.tensor([[1.0, 5.0], [2.0, 0.0], [9.0, 9.0]])
    representation, attention = max_pool(embedding, torch.tensor([0, 2, 3]))
    assert representation.tolist() == [[2.0, 5.0], [9.0, 9.0]]
    assert attention.tolist() == [0.5, 0.5, 1.0]


# 8 landmarks: no padding, zero tokens that share a landmark with others, that fill some, and both.
@pytest.mark.parametrize("tokens", [1, 5, 8, 9, 14, 15, 16, 23, 26, 57])
@torch.inference_mode()
def test_keeping_zero_tokens_once_is_the_padding_of_the_published_models(tokens: int) -> None:
    torch.manual_seed(0)
    layer = NystromAttention(16, 2, 0.0).double().eval()
    x = 3 * torch.randn(tokens, 16, dtype=torch.float64)
    found, attention = layer(x)
    expected, weights = with_zero_tokens(layer, x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(attention, weights[:, 0].mean(0), atol=1e-12, rtol=1e-9)


def with_zero_tokens(layer: NystromAttention, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The formulas of the paper, on tokens padded in front to a multiple of the landmarks."""
    segment = -(-len(x) // 8)
    padded = torch.cat([x.new_zeros(8 * segment - len(x), 16), x])
    q, k, v = (part.reshape(-1, 2, 8).transpose(0, 1) for part in (padded @ layer.to_qkv.weight.T).split(16, dim=1))
    q = q / 8**0.5
    q_mark, k_mark = (part.reshape(2, 8, segment, 8).mean(2) for part in (q, k))
    a, b, c = (torch.softmax(s, -1) for s in (q @ k_mark.mT, q_mark @ k_mark.mT, q_mark @ k.mT))
    z = b.mT / (b.sum(-1).max() * b.sum(-2).max())
    one = torch.eye(8, dtype=torch.float64)
    for _ in range(6):
        z = z @ (13 * one - b @ z @ (15 * one - b @ z @ (7 * one - b @ z))) / 4
    weights = a @ z @ c
    mixed = (weights @ v + layer.res_conv(v)).transpose(0, 1).reshape(-1, 16)
    return layer.to_out(mixed)[-len(x) :], weights[:, -len(x) :, -len(x) :]
