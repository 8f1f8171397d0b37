"""What a mutation is."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """Replace `old`, which stands in `file` exactly once, by `new`; `tests` (paths, or pytest's node ids) must fail.

    harmless: for a mutation that may survive, the reason why it changes no result.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str
    harmless: str = ""

    def is_called(self, name: str) -> bool:
        """Is `name` the mutation's own, or that of the file it breaks, or of a folder above it?"""
        return name == self.name or Path(self.file).is_relative_to(name)

    def applied_to(self, text: str) -> str:
        """`text` of the file, mutated. Raises ValueError when `old` is not there exactly once."""
        if (found := text.count(self.old)) != 1:
            raise ValueError(f"{self.file}: mutation {self.name}: its old text is there {found} times, not once")
        return text.replace(self.old, self.new)
