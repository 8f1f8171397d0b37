"""Shapes in annotations are checked while tests run; this is the test that they are."""

import numpy as np
import pytest
import torch

from cropkt.data.bags import Bags
from cropkt.survival.concordance import score_folds
from cropkt.survival.losses.discrete_nll import discrete_nll

pytest.importorskip("beartype")


def test_a_loss_refuses_labels_of_other_patients() -> None:
    logits = torch.zeros(3, 32)
    two = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(Exception, match="ype-check"):
        discrete_nll(logits, two, two)


def test_models_and_masks_are_of_the_same_patients() -> None:
    risk, valid = np.zeros((2, 5)), np.ones((2, 4), dtype=bool)
    with pytest.raises(Exception, match="ype-check"):
        score_folds(np.arange(5.0), np.ones(5), risk, np.zeros(5, dtype=np.int64), valid)


def test_bags_hold_patches_by_features() -> None:
    with pytest.raises(Exception, match="ype-check"):
        Bags(("a",), torch.zeros(4), torch.tensor([0, 4]))
