"""Tables of named records. A record is one file; help, checks, the report and the tests read its table.

Three ways into a table: a file NAME.py in the table's package, or in a folder of it, with the record in a constant
(LOSS, BASELINE, ...); an entry point of an installed package, in the group `cropkt.architectures`, `cropkt.baselines`,
..., which every worker process finds by itself; and `register`, for this process alone. Listing names and labels
imports no record, so that `--help` needs no torch.
"""

import ast
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cropkt.errors import ConfigError, refuse_unknown


class Named(Protocol):
    """What every record has: `name`, as a person writes it, and `label`, as tables and pictures show it."""

    name: str
    label: str


Record = TypeVar("Record")


class Table(Generic[Record]):
    """Records of one `kind` by name, alphabetically: those of `package`, of entry points, and registered ones.

    Iterating, `len` and `in` are over names. An unknown name is a ConfigError that lists the known ones.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self.group = f"cropkt.{package.rpartition('.')[2]}"
        self._records: dict[str, Record] = {}

    def __getitem__(self, name: str) -> Record:
        if name not in self._records:
            refuse_unknown(self.kind, name, list(self))
            self._records[name] = self._found[name]()
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._found, *self._records}))

    def __len__(self) -> int:
        return len({*self._found, *self._records})

    def __contains__(self, name: object) -> bool:
        return name in self._records or name in self._found

    def register(self, record: Record) -> Record:
        """Add `record` for this process; may decorate a class. Raises ConfigError when its name is taken."""
        name: str = record.name  # type: ignore[attr-defined]
        if name in self:
            raise ConfigError(f"{self.kind} {name!r} is there already; give the new one another name")
        self._records[name] = record
        return record

    def records(self) -> list[Record]:
        """All records, in the order of their names."""
        return [self[name] for name in self]

    def labels(self) -> dict[str, str]:
        """Label by name. Read from the records' source where they are not imported yet."""
        return {name: self._label(name) for name in self}

    def _label(self, name: str) -> str:
        label = None
        if name not in self._records:
            label = _label_in(*self._source(name))
        return label or str(self[name].label)  # type: ignore[attr-defined]

    def _source(self, name: str) -> tuple[str, str]:
        """The source of the file that holds a record, and the constant that the record is in."""
        if name in self._files:
            return self._files[name].read_text(encoding="utf-8"), self.kind.upper()
        point = self._installed[name]
        spec = find_spec(point.module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return "", point.attr
        return Path(spec.origin).read_text(encoding="utf-8"), point.attr

    @cached_property
    def _folder(self) -> Path:
        spec = find_spec(self.package)
        assert spec is not None
        return Path((spec.submodule_search_locations or [""])[0])

    @cached_property
    def _files(self) -> dict[str, Path]:
        # A folder only keeps records of a kind together: names are flat.
        return {path.stem: path for path in sorted(self._folder.rglob("*.py")) if path.stem != "__init__"}

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        installed = {point.name: point for point in entry_points(group=self.group)}
        for name in installed.keys() & self._files.keys():
            raise ConfigError(f"{installed[name].value} is installed as {self.kind} {name!r}, which is there already")
        return installed

    @cached_property
    def _found(self) -> dict[str, Callable[[], Record]]:
        """The function that imports the record of each name."""
        own = {name: self._own(name) for name in self._files}
        return own | {name: _importer(point) for name, point in self._installed.items()}

    def _own(self, name: str) -> Callable[[], Record]:
        def load() -> Record:
            inside = self._files[name].relative_to(self._folder).with_suffix("")
            module = import_module(".".join([self.package, *inside.parts]))
            record: Record = getattr(module, self.kind.upper())
            return _named(record, name, str(module.__file__))

        return load


def _importer(point: EntryPoint) -> Callable[[], Any]:
    return lambda: _named(point.load(), point.name, point.value)


def _named(record: Record, name: str, where: str) -> Record:
    found = getattr(record, "name", None)
    if found != name:
        raise ConfigError(f"{where}: the record is called {found!r}; it must be called {name!r}, as what holds it is")
    return record


def _label_in(text: str, constant: str) -> str | None:
    """The label of the record `constant` where it is written out: `label=` of its call, or `label =` of its class."""
    classes: dict[str, str] = {}
    for node in ast.parse(text).body:
        match node:
            case ast.ClassDef(name, body=body):
                for line in body:
                    match line:
                        case ast.Assign([ast.Name("label")], ast.Constant(str(label))):
                            classes[name] = label
            case ast.Assign([ast.Name(name)], ast.Name(of)) if name == constant:
                return classes.get(of)
            case ast.Assign([ast.Name(name)], ast.Call(keywords=keywords)) if name == constant:
                for keyword in keywords:
                    if keyword.arg == "label" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
    return classes.get(constant)
