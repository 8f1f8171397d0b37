"""Two possible readings are never chosen between silently: a person is asked, or a flag is demanded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cropkt.errors import StudyError

Ask = Callable[[str, Sequence[str]], int]
"""Asks a person a question with numbered answers; returns the index of the answer."""


@dataclass(frozen=True)
class Reading:
    """One way to read what is there: the `value`, how the flag writes it (`text`), and the `evidence` for it."""

    value: Any
    text: str
    evidence: str


@dataclass(frozen=True)
class Chooser:
    """Decides by the flags that were `given` (by name, without dashes; those not given are None), else asks.

    `ask` is None where nobody can be asked.
    """

    given: Mapping[str, Any]
    ask: Ask | None = None

    def flag(self, name: str) -> Any:
        """The value given for a flag, or None."""
        return self.given.get(name)

    def choose(self, what: str, flag: str, readings: Sequence[Reading]) -> Reading:
        """The one of `readings` that holds. Raises StudyError where several do and nobody can be asked."""
        if (wanted := self.flag(flag)) is not None:
            return self._as_given(what, flag, str(wanted), readings)
        if len(readings) == 1:
            return readings[0]
        lines = [f"{reading.text}: {reading.evidence}" for reading in readings]
        if self.ask is not None:
            return readings[self.ask(what, lines)]
        options = "".join(f"\n  --{flag} {_quoted(reading.text)}   ({reading.evidence})" for reading in readings)
        raise StudyError(f"{what}: {len(readings)} readings are possible; give one of{options}")

    def _as_given(self, what: str, flag: str, wanted: str, readings: Sequence[Reading]) -> Reading:
        for reading in readings:
            if reading.text.casefold() == wanted.casefold():
                return Reading(reading.value, reading.text, f"--{flag} says so")
        known = ", ".join(reading.text for reading in readings) or "nothing"
        raise StudyError(f"--{flag} {_quoted(wanted)}: {what} can be {known}")


def ask_on_terminal(question: str, answers: Sequence[str]) -> int:
    """Print the numbered `answers` and read one of their numbers."""
    print(f"{question}?")
    for number, answer in enumerate(answers, 1):
        print(f"  {number}  {answer}")
    while True:
        typed = input(f"1 to {len(answers)}: ").strip()
        if typed.isdigit() and 1 <= int(typed) <= len(answers):
            return int(typed) - 1


def _quoted(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").replace(".", "").isalnum() else f'"{text}"'
