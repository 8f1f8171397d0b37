"""study.yaml as plain values. Whatever could make reading it slow or ambiguous is refused: size, depth, aliases that
multiply, keys given twice."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cropkt.data.text_files import TextFileError, read_text
from cropkt.errors import StudyError

MOST_BYTES = 100_000
"""PyYAML reads about 100 kB a second, and a study.yaml is a few lines."""
DEEPEST = 12
MOST_VALUES = 20_000


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader with bounds on depth and on the number of values, aliases written out, and with every key once."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.get_mark()
        if self.depth >= DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} deep", problem_mark=mark)
        is_alias = self.check_event(yaml.AliasEvent)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and id(node) not in self.sizes:
            raise yaml.MarkedYAMLError(problem="an alias refers to what it is a part of", problem_mark=mark)
        if node is not None and not is_alias:
            self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in _parts(node))
            if self.sizes[id(node)] > MOST_VALUES:
                raise yaml.MarkedYAMLError(problem=f"more than {MOST_VALUES} values", problem_mark=mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        given: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in given:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            given.add(str(key.value))
        return super().construct_mapping(node, deep)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def load_yaml(path: Path) -> dict[Any, Any]:
    """The mapping in the YAML file `path`. FileNotFoundError where there is none, else StudyError saying the line."""
    try:
        text = read_text(path, most_bytes=MOST_BYTES)
    except TextFileError as error:
        raise StudyError(f"{path}: {error}") from error
    try:
        values = yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", row {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise StudyError(
            f"{path}{where}: not valid YAML ({problem}); mend that line (a text with {{ : or # needs quotes)"
        ) from error
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise StudyError(f"{path}: not valid YAML ({str(error)[:100]}); put the value in quotes") from error
    if not isinstance(values, dict):
        raise StudyError(f"{path}: holds no `key: value` lines; it needs name, labels and encoders")
    return values
