"""What can be chosen of models and their training, and how it is called; quick to import, for `--help`."""

from collections.abc import Mapping

from cropkt.models.architectures import ARCHITECTURES
from cropkt.survival.losses import LOSSES

PRECISION_NAMES = {
    "auto": "bfloat16 where the device multiplies it natively, else float32",
    "float32": "as published",
    "bfloat16": "2 to 4 times faster where the device multiplies it natively; has moved a C-index by up to 0.005",
}
ARCHITECTURE_NAMES = ARCHITECTURES.labels()
LOSS_NAMES = LOSSES.labels()
"""Label by name."""


def explained(names: Mapping[str, str]) -> str:
    """ "abmil (gated attention), mean (mean of patches)": names and labels, for help texts."""
    return ", ".join(f"{name} ({label})" for name, label in names.items())
