"""Self-attention over n tokens at a cost linear in n, by the Nystrom method (Xiong et al. 2021, arXiv 2102.03902).

softmax(Q K') is approximated by softmax(Q K~') . softmax(Q~ K~')^+ . softmax(Q~ K'), with m landmarks Q~, K~ that are
means of consecutive tokens, and the pseudo-inverse from a few steps of an iteration (Razavi et al. 2014).

The published models put zero tokens before the first until n is a multiple of m. All of these are alike, and so are
the landmarks made of nothing else; here each kind is kept once, with the number of its copies. With S = diag(sqrt of
the copies), A -> S A / S of the softmax is the same matrix on the space where alike landmarks have alike values, so
the result is the same up to rounding, and a bag of 100 patches inverts 102 x 102 instead of 256 x 256.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cropkt.models.mil import at_least_float32

INVERSE_STEPS = 6
RESIDUAL_KERNEL = 33


class NystromAttention(nn.Module):
    """`heads` heads, `width` / 2 landmarks, and a convolution of the values along the tokens added to the result."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.landmarks = max(1, width // 2)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.res_conv = nn.Conv2d(
            heads, heads, (RESIDUAL_KERNEL, 1), padding=(RESIDUAL_KERNEL // 2, 0), groups=heads, bias=False
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, E) to (n, E), and what the first token attends to, averaged over heads: (n,)."""
        product = self.to_qkv(tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            query, key, value = at_least_float32(product).unflatten(1, (3, self.heads, -1)).permute(1, 2, 0, 3)
            mixed, attention = self._attend(query * query.shape[-1] ** -0.5, key, value)
            mixed = (mixed + self.res_conv(value)).transpose(0, 1).flatten(1)
        return self.to_out(mixed), attention

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, keys and values (heads, n, E / heads) to mixed values of that shape and attention (n,)."""
        tokens = query.shape[1]
        segment = -(-tokens // self.landmarks)
        padding = segment * self.landmarks - tokens
        empty, rest = divmod(padding, segment)
        query_mark, key_mark = (_before(_means(x, segment, rest), empty) for x in (query, key))
        copies = _copies(query_mark, empty)
        root = copies.sqrt()
        to_marks = F.softmax(query @ key_mark.mT + copies.log(), dim=-1) / root
        between = F.softmax(query_mark @ key_mark.mT + copies.log(), dim=-1) * root[:, None] / root
        keys = _before(key, padding)
        from_marks = F.softmax(query_mark @ keys.mT + _copies(keys, padding).log(), dim=-1)[..., -tokens:]
        from_marks = from_marks * root[:, None]
        to_marks = to_marks @ _pseudo_inverse(between, root)
        attention = (to_marks[:, :1] @ from_marks).mean(dim=0).squeeze(0)
        return to_marks @ (from_marks @ value), attention


def _means(tokens: Tensor, segment: int, padding: int) -> Tensor:
    """Means of `segment` tokens each, `padding` zero tokens being before the first: (heads, marks, width)."""
    return F.pad(tokens, (0, 0, padding, 0)).unflatten(1, (-1, segment)).mean(dim=2)


def _before(rows: Tensor, copies: int) -> Tensor:
    """One zero row before the others where it stands for at least one: (heads, rows, width)."""
    return F.pad(rows, (0, 0, 1, 0)) if copies else rows


def _copies(rows: Tensor, first: int) -> Tensor:
    """How many rows each of `rows` (heads, n, width) stands for: `first` for the first unless 0, else 1."""
    copies = rows.new_ones(rows.shape[1])
    if first:
        copies[0] = first
    return copies


def _pseudo_inverse(matrix: Tensor, root: Tensor) -> Tensor:
    """Approximate pseudo-inverses of `matrix` (heads, m, m), S A / S with S = diag(root) and A a softmax.

    Starts from A' / (largest row sum x largest column sum), taken over all heads as published.
    """
    largest = ((matrix @ root) / root).max() * ((matrix.mT @ root) / root).max()
    inverse = matrix.mT / largest
    for _ in range(INVERSE_STEPS):
        # inverse (13 - p (15 - p (7 - p))) / 4 with p = matrix inverse, from the inside out
        product = matrix @ inverse
        inner = torch.baddbmm(product, product, product, beta=7, alpha=-1)
        inner = torch.baddbmm(product, product, inner, beta=15, alpha=-1)
        inverse = torch.baddbmm(inverse, inverse, inner, beta=13 / 4, alpha=-1 / 4)
    return inverse
