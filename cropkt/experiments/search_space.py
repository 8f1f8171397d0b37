"""Search spaces: data in tune_spaces/*.yaml, checked before anything starts.

A space names settings of what is tuned (a router, a fusion, the own ABMIL) and of its training. Each has `choices`, or
`low` and `high` with `scale` "linear" or "log".
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cropkt.data.faults import suggestion
from cropkt.errors import ConfigError
from cropkt.models.fusion import FusionSettings
from cropkt.models.mil import Architecture
from cropkt.models.router import RouterSettings
from cropkt.training.config import TrainingConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SPACES = Path(__file__).resolve().parents[2] / "tune_spaces"
_SETTINGS: dict[str, Any] = {
    "router": RouterSettings(),
    "fusion": FusionSettings(),
    "abmil": Architecture(features=1),
}
KINDS = tuple(_SETTINGS)
"""What can be tuned."""
_FIXED = ("features", "name", "intervals", "loss", "drop_partial_update", "released_gru")
"""Given by the study and the source models."""


@dataclass(frozen=True)
class Dimension:
    """One setting of a space: `choices`, or a range from `low` to `high`."""

    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """What Optuna draws from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class SearchSpace:
    """A checked space for `kind`, one of KINDS."""

    kind: str
    dimensions: dict[str, Dimension]

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """By setting, what Optuna draws from."""
        return {name: dimension.distribution() for name, dimension in self.dimensions.items()}


def read_space(kind: str, path: Path | None = None) -> SearchSpace:
    """The space for `kind` in `path` (default: tune_spaces/<kind>.yaml).

    Raises ConfigError with all that is wrong: file, key, and what to do.
    """
    path = path or SPACES / f"{kind}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"search space {path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"search space {path}: is not YAML ({error})") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"search space {path}: names no setting; see tune_spaces/{kind}.yaml for the form")
    known = known_settings(kind)
    faults: list[str] = []
    dimensions = {}
    for name, given in content.items():
        if name not in known:
            faults.append(f"{name}: no such setting; {suggestion(str(name), known)}there are {', '.join(known)}")
            continue
        try:
            dimension = _dimension(given, known[name])
            for value in dimension.choices or (dimension.low, dimension.high):
                _check(kind, name, value, known[name])
        except ConfigError as error:
            faults.append(f"{name}: {error}")
        else:
            dimensions[name] = dimension
    if faults:
        raise ConfigError(f"search space {path} ({kind}):\n  " + "\n  ".join(faults))
    return SearchSpace(kind, dimensions)


def known_settings(kind: str) -> dict[str, Any]:
    """The settings a space of `kind` may name, with their defaults."""
    settings = _SETTINGS[kind]
    found = {field.name: getattr(settings, field.name) for field in fields(settings)}
    found |= {field.name: getattr(TrainingConfig(), field.name) for field in fields(TrainingConfig)}
    return {name: value for name, value in found.items() if name not in _FIXED}


def _dimension(given: Any, default: Any) -> Dimension:
    form = "give {choices: [...]}, or {low: ..., high: ...} with scale: log where wanted"
    if not isinstance(given, Mapping):
        raise ConfigError(f"{given!r} is no range; {form}")
    keys = ("choices", "low", "high", "scale")
    if unknown := [str(key) for key in given if key not in keys]:
        raise ConfigError(f"{unknown[0]!r} is unknown; {suggestion(unknown[0], keys)}{form}")
    if "choices" in given:
        choices = given["choices"]
        if len(given) > 1 or not isinstance(choices, list) or not choices:
            raise ConfigError(f"choices must be a list, and stand alone; {form}")
        return Dimension(tuple(choices))
    low, high, scale = given.get("low"), given.get("high"), given.get("scale", "linear")
    if not (_is_number(low) and _is_number(high)):
        raise ConfigError(f"low and high must be numbers (1.0e-4, not 1e-4, in YAML); {form}")
    if scale not in ("linear", "log"):
        raise ConfigError(f"scale is {scale!r}; it must be linear or log")
    assert low is not None
    assert high is not None
    if not low < high or (scale == "log" and not low > 0):
        raise ConfigError(f"low is {low}, high is {high}; low must be below high{', and above 0' * (scale == 'log')}")
    if isinstance(default, float):  # {low: 1, high: 4} of a temperature is not 1, 2, 3 or 4
        low, high = float(low), float(high)
    return Dimension(low=low, high=high, log=scale == "log")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(kind: str, name: str, value: Any, default: Any) -> None:
    """Raises ConfigError when `value` is of another type than `default`, or out of the setting's range."""
    if not (isinstance(default, float) and _is_number(value)) and type(value) is not type(default):
        raise ConfigError(f"{value!r} is not of the kind of {default!r}, its default")
    owner = TrainingConfig() if name in TrainingConfig.__dataclass_fields__ else _SETTINGS[kind]
    replace(owner, **{name: value})
