"""Models that combine sources: how they start."""

import pytest
import torch

from cropkt.models.fusion import FusionSettings
from cropkt.models.mil import Architecture
from cropkt.models.router import RouterSettings
from cropkt.routing.combination import Recipe, build_combination
from cropkt.training.config import TrainingConfig

SETTINGS = {
    "router": RouterSettings(embedding=8, attention=4, top_k=2),
    "fusion": FusionSettings("mean"),
    "own model": Architecture(features=6, embedding=8, attention=4),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_start_depends_on_the_seed_alone(kind: str) -> None:
    def start(seed: int) -> list[torch.Tensor]:
        recipe = Recipe(SETTINGS[kind], TrainingConfig())
        vectors = torch.zeros(3, 4, 8)
        model = build_combination(recipe, width=6, vectors=vectors, intervals=16, seed=seed, precision="float32")
        return list(model.parameters())

    before = torch.get_rng_state()
    first = start(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert all(map(torch.equal, first, start(1)))
    assert not all(map(torch.equal, first, start(2)))
