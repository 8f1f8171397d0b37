"""study.yaml as `init` writes it: every key with a line that says why it is so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cropkt.data.study_yaml.columns import Columns, EventColumn
from cropkt.data.study_yaml.schema import STUDY_FILE
from cropkt.files import atomic_path

WIDE = 10_000
"""Columns, so that no value is broken over lines."""


@dataclass(frozen=True)
class Key:
    """A key of study.yaml, its value, and the comment lines above it."""

    name: str
    value: Any
    comments: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyFile:
    """All of a study.yaml."""

    heading: str
    keys: tuple[Key, ...] = field(default_factory=tuple)

    def text(self) -> str:
        """The file's text."""
        lines = [f"# {self.heading}"]
        for key in self.keys:
            lines += ["", *(f"# {comment}" for comment in key.comments)]
            if isinstance(key.value, dict):
                lines += [f"{key.name}:", *(f"  {inner}: {_flow(value)}" for inner, value in key.value.items())]
            else:
                lines.append(f"{key.name}: {_flow(key.value)}")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write it into the study's folder; returns its path."""
        path = folder / STUDY_FILE
        with atomic_path(path) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")
        return path


def columns_value(columns: Columns) -> dict[str, Any]:
    """`columns` as study.yaml writes them."""
    value: dict[str, Any] = {"patient": columns.patient}
    value |= {"slide": columns.slide} if columns.slide else {}
    value["time"] = {"column": columns.time.column, "unit": columns.time.unit}
    value["event"] = _event_value(columns.event)
    named = {"project": columns.project, "site": columns.site, "cohort": columns.cohort}
    value |= {key: name for key, name in named.items() if name}
    return value | ({"clinical": list(columns.clinical)} if columns.clinical else {})


def _event_value(event: EventColumn) -> dict[str, Any]:
    both: Mapping[str, tuple[str, ...]] = {"event": event.event, "censored": event.censored}
    value: dict[str, Any] = {"column": event.column}
    for kind, values in both.items():
        if values:
            value[kind] = values[0] if len(values) == 1 else list(values)
    return value


def _flow(value: Any) -> str:
    """`value` on one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=WIDE, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
