"""Numbers that cannot be trained with end in one sentence."""

import math

import pytest

from cropkt.errors import ConfigError
from cropkt.training.config import TrainingConfig

WRONG = [
    *(("learning_rate", value) for value in (math.inf, math.nan, -1.0, 0.0, "1e-4", None, True)),
    *(("weight_decay", value) for value in (math.inf, math.nan, -1e-9)),
    *(("censored_weight", value) for value in (math.nan, -0.1, 1.1)),
    *(("clamp", value) for value in (0.0, 1.0, math.nan)),
    *(("epochs", value) for value in (0, -1, 1.5, math.inf, math.nan, True)),
    *(("bags_per_update", value) for value in (0, 2.5, math.inf)),
    *(("warmup_epochs", value) for value in (-1, math.nan)),
    *(("patches_per_bag", value) for value in (-1, 1.5, True)),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_number_is_named_with_its_bounds(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^training\.{field} is .*; it must be a (whole )?number ") as refused:
        TrainingConfig(**{field: value})
    assert repr(value) in str(refused.value)


def test_the_published_settings_and_the_bounds_themselves_are_accepted() -> None:
    TrainingConfig()
    TrainingConfig(epochs=1, weight_decay=0, censored_weight=1, warmup_epochs=0, learning_rate=1)
