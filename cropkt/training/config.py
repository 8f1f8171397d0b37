"""How a source model is trained. The defaults are the published settings (CROPKT, section 4.1)."""

from dataclasses import dataclass, field

from cropkt.errors import ConfigError, refuse_unknown
from cropkt.survival.losses import LOSSES

SCHEDULES = ("cosine", "constant")


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
    schedule: str = "cosine"
    warmup_epochs: int = 1
    loss: str = field(default="discrete_nll", metadata={"help": "the survival loss", "choices": LOSSES})
    censored_weight: float = 0.5
    """alpha: a censored patient's loss counts (1 - alpha)."""
    clamp: float = 1e-7
    """eps: probabilities are clamped from below at this before their logarithm."""
    drop_partial_update: bool = False

    def __post_init__(self) -> None:
        for name, lowest in (
            ("epochs", 1),
            ("bags_per_update", 1),
            ("warmup_epochs", 0),
            ("weight_decay", 0),
        ):
            if getattr(self, name) < lowest:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be {lowest} or more")
        if not self.learning_rate > 0:
            raise ConfigError(f"training.learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.censored_weight <= 1:
            raise ConfigError(f"training.censored_weight is {self.censored_weight}; it must be between 0 and 1")
        refuse_unknown("training.loss", self.loss, list(LOSSES))
        refuse_unknown("training.schedule", self.schedule, SCHEDULES)

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
