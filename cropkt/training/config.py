"""How a source model is trained. The defaults are the published settings (CROPKT, section 4.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.survival.losses import LOSSES

SCHEDULES = ("cosine", "constant")
PAN_CANCER = "pan_cancer"
"""What the networks that all cohorts but a target have trained are called as its source."""


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, schedule and loss.

    `drop_partial_update` is the published protocol: bags that do not fill an update at the end of an epoch never
    train in that epoch. By default the partial update is kept. Fields with a help text are flags of the commands.
    """

    epochs: int = field(default=20, metadata={"help": "passes over a cohort's training bags"})
    bags_per_update: int = field(default=16, metadata={"help": "patients an update averages over"})
    learning_rate: float = field(default=1e-4, metadata={"help": "peak rate of AdamW"})
    weight_decay: float = field(default=1e-5, metadata={"help": "decay of matrices; biases never decay"})
    patches_per_bag: int = field(
        default=0,
        metadata={"help": "patches drawn anew from each bag in every epoch of training", "unset": "all of them"},
    )
    schedule: str = "cosine"
    warmup_epochs: int = 1
    loss: str = field(default="discrete_nll", metadata={"help": "the survival loss", "choices": LOSSES.labels()})
    censored_weight: float = 0.5
    """alpha: a censored patient's loss counts (1 - alpha)."""
    clamp: float = 1e-7
    """eps: probabilities are clamped from below at this before their logarithm."""
    drop_partial_update: bool = False

    def __post_init__(self) -> None:
        for name, lowest in (("epochs", 1), ("bags_per_update", 1), ("warmup_epochs", 0), ("patches_per_bag", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ConfigError(f"training.{name} is {value!r}; it must be a whole number of {lowest} or more")
        self._check_number("learning_rate", lambda value: value > 0, "above 0")
        self._check_number("weight_decay", lambda value: value >= 0, "0 or more")
        self._check_number("censored_weight", lambda value: 0 <= value <= 1, "between 0 and 1")
        self._check_number("clamp", lambda value: 0 < value < 1, "above 0 and below 1")
        refuse_unknown("training.loss", self.loss, list(LOSSES))
        refuse_unknown("training.schedule", self.schedule, SCHEDULES)

    def _check_number(self, name: str, allowed: Callable[[float], bool], meaning: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not allowed(value):
            raise ConfigError(f"training.{name} is {value!r}; it must be a number {meaning}")

    def updates_per_epoch(self, n_bags: int) -> int:
        """Updates an epoch makes of `n_bags` training bags.

        Raises ConfigError when there is none: with `drop_partial_update`, fewer bags than one update holds.
        """
        full, rest = divmod(n_bags, self.bags_per_update)
        updates = full + (1 if rest and not self.drop_partial_update else 0)
        if updates == 0:
            raise ConfigError(
                f"{n_bags} training bags do not fill one update of {self.bags_per_update}, and this protocol drops "
                "partial updates: use the default protocol, or a smaller training.bags_per_update"
            )
        return updates
