"""Path patterns of study.yaml: plain {placeholders} and, for features, * as the name of a folder."""

import os
from collections.abc import Collection
from pathlib import Path
from string import Formatter
from typing import Any

from cropkt.data.faults import Faults
from cropkt.data.slide_files.features import SUFFIXES
from cropkt.data.study_yaml.schema import shown, study_fault
from cropkt.errors import suggestion

LONGEST_PATTERN = 1000


def study_path(folder: Path, pattern: str, **values: str | int) -> Path:
    """The path `pattern` stands for, relative to `folder` unless it is absolute or starts with ~."""
    return Path(os.path.join(folder, os.path.expanduser(pattern.format(**values))))


def one_or_more(
    value: Any, named: str, allowed: Collection[str], needed: Collection[str], faults: Faults
) -> tuple[str, ...]:
    """The patterns in `value`, a text or a list of texts; none where one of them is a fault."""
    listed = value if isinstance(value, list) and value else [value]
    checked = [checked_pattern(one, named, allowed, needed, faults) for one in listed]
    patterns = [pattern for pattern in checked if pattern is not None]
    return tuple(dict.fromkeys(patterns)) if len(patterns) == len(listed) else ()


def checked_pattern(
    value: Any, named: str, allowed: Collection[str], needed: Collection[str], faults: Faults
) -> str | None:
    """The path pattern `value` if its {placeholders} are plain, are `allowed` and hold those `needed`, else a fault."""
    braced = ", ".join(f"{{{field}}}" for field in allowed)
    if not isinstance(value, str) or not value.strip():
        what = "is missing" if value is None else f"is {shown(value)}, not a path pattern"
        study_fault(faults, f"{named} {what}", f"give a path pattern with {braced}")
        return None
    value = value.strip()
    if len(value) > LONGEST_PATTERN or "\0" in value:
        to_do = f"give a path of at most {LONGEST_PATTERN} characters"
        study_fault(faults, f"{named} is {shown(value)}, not a path", to_do)
        return None
    try:
        parsed = [part[1:] for part in Formatter().parse(value) if part[1] is not None]
    except ValueError as error:
        study_fault(faults, f"{named} is {shown(value)} ({error})", "close every brace")
        return None
    fields = {str(field) for field, _, _ in parsed}
    unknown, missing = sorted(fields - set(allowed)), sorted(set(needed) - fields)
    dressed = [field for field, width, conversion in parsed if width or conversion]
    if unknown:
        what = f"{named} is {shown(value)} with an unknown {{{unknown[0]}}}"
        study_fault(faults, what, f"{suggestion(unknown[0], allowed)}it may use {braced}")
    elif dressed:
        study_fault(faults, f"{named} is {shown(value)}", f"write plain {{{dressed[0]}}}, without a format")
    if missing:
        study_fault(faults, f"{named} is {shown(value)}", f"it needs {{{missing[0]}}}")
    return None if unknown or missing or dressed else value


def feature_patterns(value: Any, named: str, faults: Faults) -> tuple[str, ...]:
    """The patterns of an encoder's feature files; none where one of them is a fault."""
    before = len(faults.found)
    patterns = one_or_more(value, named, ("project", "slide", "cohort", "patient"), ("slide",), faults)
    for pattern in patterns:
        name = Path(pattern).name
        if "{slide}" not in name:
            study_fault(faults, f"{named} is {pattern!r}", "the file's own name needs {slide}")
        elif Path(pattern).suffix.lower() not in SUFFIXES:
            study_fault(faults, f"{named} is {pattern!r}", f"it must end in {', '.join(SUFFIXES)}")
        elif "*" in name or "**" in pattern:
            to_do = "* stands for the name of one folder; a file is found by the part of its name before the first dot"
            study_fault(faults, f"{named} is {pattern!r}", to_do)
    return patterns if len(faults.found) == before else ()
