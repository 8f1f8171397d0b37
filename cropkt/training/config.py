"""How a source model is trained. The defaults are the published settings (CROPKT, section 4.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

from cropkt.errors import ConfigError

LOSSES = ("discrete_nll", "incidence_nll", "cox_nll")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, schedule and loss.

    `drop_partial_update` is the published protocol: bags that do not fill an update at the end of an epoch never
    train in that epoch. By default the partial update is kept.
    """

    epochs: int = 20
    bags_per_update: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    schedule: str = "cosine"
    warmup_epochs: int = 1
    loss: str = "discrete_nll"
    censored_weight: float = 0.5
    """alpha: a censored patient's loss counts (1 - alpha)."""
    clamp: float = 1e-7
    """eps: probabilities are clamped from below at this before their logarithm."""
    drop_partial_update: bool = False

    def __post_init__(self) -> None:
        for field, lowest in (("epochs", 1), ("bags_per_update", 1), ("warmup_epochs", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise ConfigError(f"training.{field} is {value!r}; it must be a whole number of {lowest} or more")
        self._check_number("learning_rate", lambda value: value > 0, "above 0")
        self._check_number("weight_decay", lambda value: value >= 0, "0 or more")
        self._check_number("censored_weight", lambda value: 0 <= value <= 1, "between 0 and 1")
        self._check_number("clamp", lambda value: 0 < value < 1, "above 0 and below 1")
        if self.loss not in LOSSES:
            raise ConfigError(f"training.loss {self.loss!r} is unknown; choose one of {', '.join(LOSSES)}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"training.schedule {self.schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}")

    def _check_number(self, field: str, allowed: Callable[[float], bool], meaning: str) -> None:
        value = getattr(self, field)
        number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not allowed(value):
            raise ConfigError(f"training.{field} is {value!r}; it must be a number {meaning}")

    def updates_per_epoch(self, bags: int) -> int:
        """Updates an epoch makes of `bags` training bags.

        Raises ConfigError when there is none: with `drop_partial_update`, fewer bags than one update holds.
        """
        full, rest = divmod(bags, self.bags_per_update)
        updates = full + (1 if rest and not self.drop_partial_update else 0)
        if updates == 0:
            raise ConfigError(
                f"{bags} training bags do not fill one update of {self.bags_per_update}, and this protocol drops "
                "partial updates: use the default protocol, or a smaller training.bags_per_update"
            )
        return updates
