"""Attention of several models on one slide, and how much two of them share."""

import numpy as np
import pytest
import torch
from small_studies import DIM

from cropkt.attention.look import TOP, Look, look, overlaps
from cropkt.errors import InputError
from cropkt.models.mil import Architecture, MILModel, build_model

ARCHITECTURE = Architecture(features=DIM, embedding=8, attention=5)


def models(*seeds: int) -> list[MILModel]:
    made = []
    for seed in seeds:
        torch.manual_seed(seed)
        made.append(build_model(ARCHITECTURE).eval())
    return made


def slide(patches: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(patches, DIM)).astype(np.float32)


def test_a_sources_attention_is_the_mean_of_its_models() -> None:
    made, features = models(0, 1, 2), slide()
    found = look("S", features, {"acc": made, "uvm": made[:1]})
    offsets = torch.tensor([0, len(features)])
    with torch.inference_mode():
        alone = [model(torch.from_numpy(features), offsets).attention.numpy() for model in made]
    assert found.attention.sum(axis=1) == pytest.approx([1, 1])
    assert found.attention[0] == pytest.approx(np.mean(alone, axis=0), rel=1e-4)
    assert found.attention[1] == pytest.approx(alone[0], rel=1e-4)


def test_ranks_and_top_patches_of_known_attention() -> None:
    attention = np.array([[4.0, 1, 3, 2] + [0] * 16, [1.0] * 20])
    found = Look("S", ("acc", "uvm"), attention / attention.sum(axis=1, keepdims=True))
    assert list(np.flatnonzero(found.top[0])) == [0, 2]
    assert found.top.sum(axis=1).tolist() == [TOP * 20, TOP * 20]
    assert found.held_by_top == pytest.approx([0.7, 0.1])
    assert found.times_mean[0, 0] == pytest.approx(8)
    assert found.percentile[0, :4] == pytest.approx([19.5 / 20, 16.5 / 20, 18.5 / 20, 17.5 / 20])
    assert (found.percentile[1] == 0.5).all()


def test_overlap_of_known_attention() -> None:
    """All, half and nothing in common; by chance, of two that each look at half of the patches, half."""
    halves = np.zeros((3, 40))
    halves[0, :20] = halves[1, 20:] = halves[2, 10:30] = 1 / 20
    found = overlaps(Look("S", ("a", "b", "c"), halves))
    assert [(pair.one, pair.other) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.overlap for pair in found] == pytest.approx([0, 0.5, 0.5])
    assert [pair.by_chance for pair in found] == pytest.approx([0.5] * 3, abs=0.03)
    same = overlaps(Look("S", ("a", "b"), halves[[0, 0]]))[0]
    assert (same.overlap, same.shared_top) == (pytest.approx(1), 1)
    assert overlaps(Look("S", ("a",), halves[:1])) == []


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match="slide S has 5 features, the models of acc read 6"):
        look("S", slide()[:, :5], {"acc": models(0)})
