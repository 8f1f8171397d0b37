"""Errors made for the person who can mend them: what is wrong, where, and what to do."""

from collections.abc import Collection
from difflib import get_close_matches


class InputError(ValueError):
    """Something the user gave is wrong. Scripts print the message alone, without a traceback, and exit with 2."""


class StudyError(InputError):
    """A study's labels, splits or features are not what its study.yaml promises."""


class ConfigError(InputError):
    """A setting is unknown, out of range, or does not go with another one."""


class CheckpointError(InputError):
    """A model file is missing, is damaged, or belongs to another architecture, encoder or cohort."""


def suggestion(word: str, known: Collection[str]) -> str:
    """`did you mean 'folds'? ` for the entry of `known` nearest to `word`, or an empty string."""
    near = get_close_matches(word.lower()[:100], list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def refuse_unknown(what: str, name: str, known: Collection[str]) -> None:
    """Raise ConfigError unless `name` is one of `known`; `what` says of what kind it should be."""
    if name not in known:
        raise ConfigError(f"{what} {name!r} is unknown; {suggestion(name, known)}choose one of {', '.join(known)}")
