"""The loop to compare with: one slide and one model at a time, every slide read each time it is met, in float32.

It is written as one would write it from the paper, with nothing that makes it slower than need be: the published code
does the same and more. Its model has our parameters' names, so both can start from the same weights.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.survival.losses.discrete_nll import discrete_nll

DROPOUT = 0.25


class PlainABMIL(nn.Module):
    """Gated attention for one bag (Ilse et al. 2018, eq. 9), 512 and 384 wide, 32 intervals, as the study's model."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.feat_proj = nn.Sequential(nn.Linear(width, 512), nn.ReLU())
        self.attention_net = nn.ModuleDict(
            {
                "attention_a": nn.Sequential(nn.Linear(512, 384), nn.Tanh(), nn.Dropout(DROPOUT)),
                "attention_b": nn.Sequential(nn.Linear(512, 384), nn.Sigmoid(), nn.Dropout(DROPOUT)),
                "attention_c": nn.Linear(384, 1),
            }
        )
        self.pred_head = nn.Linear(512, 32)

    def forward(self, patches: Tensor) -> Tensor:
        """(N, D) to logits (1, 32)."""
        embedding = self.feat_proj(patches)
        net = self.attention_net
        score = net["attention_c"](net["attention_a"](embedding) * net["attention_b"](embedding))
        return self.pred_head(F.softmax(score.T, dim=1) @ embedding)


def read_slide(path: Path, device: str) -> Tensor:
    """The patches (N, D) of a slide, float32; the file holds them as (1, N, D), as extracted by the published tools."""
    with h5py.File(path) as file:
        return torch.from_numpy(file["features"][0]).to(device)


@torch.inference_mode()
def score_slides(models: Sequence[PlainABMIL], paths: Sequence[Path], device: str) -> Tensor:
    """The logits (M, B, 32) of every model on every slide: a model at a time, as pair after pair is measured."""
    return torch.stack(
        [torch.cat([model(read_slide(path, device)) for path in paths]) for model in (model.eval() for model in models)]
    ).cpu()


def train_model(
    model: PlainABMIL, paths: Sequence[Path], interval: Tensor, event: Tensor, *, epochs: int, update: int, device: str
) -> list[float]:
    """Train `model` in place, `update` slides an update; the loss of each update.

    interval, event: (B,) labels of the slides. AdamW at rate 1e-4, without schedule.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-5)
    model.train()
    losses = []
    for _ in range(epochs):
        for start in range(0, len(paths), update):
            slides = range(start, min(start + update, len(paths)))
            logits = torch.cat([model(read_slide(paths[slide], device)) for slide in slides])
            labels = slice(slides.start, slides.stop)
            loss = discrete_nll(logits, interval[labels].to(device), event[labels].to(device)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses
