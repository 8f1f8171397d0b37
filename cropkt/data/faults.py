"""Faults of a study, collected over all its files and told together, so that one reading mends them all."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest

from cropkt.errors import StudyError

SHOWN_FAULTS = 20
SHOWN_PER_SOURCE = 3
LONGEST_TOLD = 1000
"""Characters of a cell or name, however long, that a message repeats."""


@dataclass(frozen=True)
class Place:
    """Where in a file: the 1-based line, the patient, the slide, as far as they are known."""

    row: int | None = None
    patient: str = ""
    slide: str = ""


NOWHERE = Place()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: its `kind`, the full `message` with what to do, and the table or folder it is in."""

    kind: str
    message: str
    source: str


@dataclass
class Faults:
    """Collects faults while a study is checked; `raise_any` tells them all."""

    study: str
    found: list[Fault] = field(default_factory=list)
    known: set[Fault] = field(default_factory=set)

    def add(
        self, kind: str, file: str, what: str, to_do: str, at: Place = NOWHERE, *, origin: str | None = None
    ) -> None:
        """Note `what` is wrong in `file` at a place, and what `to_do`.

        Of many faults of a kind in one `origin` (default: the file; a folder of features) only a few are told. The same
        fault found again (one table may serve several cohorts) is one fault.
        """
        where = [file]
        where += [f"row {at.row}"] if at.row is not None else []
        where += [f"patient {at.patient}"] if at.patient else []
        where += [f"slide {at.slide}"] if at.slide else []
        told = (text if len(text) <= LONGEST_TOLD else f"{text[:LONGEST_TOLD]}..." for text in (", ".join(where), what))
        fault = Fault(kind, f"{': '.join(told)}; {to_do}", origin or file)
        if fault not in self.known:
            self.known.add(fault)
            self.found.append(fault)

    def raise_any(self) -> None:
        """Raise StudyError naming every kind of fault found, if there is any."""
        if self.found:
            raise StudyError(describe(self.study, self.found))


def describe(study_name: str, found: list[Fault]) -> str:
    """All of `found` in one message: at most 20 in full, at most 3 of a kind from one source, every kind at least once.

    What is not shown in full is counted below the faults it is like.
    """
    by_kind: dict[str, list[Fault]] = {}
    for fault in found:
        by_kind.setdefault(fault.kind, []).append(fault)
    candidates = {kind: _few_of_each_source(faults) for kind, faults in by_kind.items()}
    turns = zip_longest(*candidates.values())
    shown = [fault for turn in turns for fault in turn if fault is not None][: max(SHOWN_FAULTS, len(by_kind))]
    counted = Counter(fault.kind for fault in shown)

    total = f"{len(found)} faults" if len(found) > 1 else "1 fault"
    lines = [f"{study_name}: {total}; mend the study and open it again"]
    for kind, faults in by_kind.items():
        lines += [f"- {fault.message}" for fault in shown if fault.kind == kind]
        if more := len(faults) - counted[kind]:
            lines.append(f"  ... and {more} more like it ({kind})")
    return "\n".join(lines)


def _few_of_each_source(faults: Iterable[Fault]) -> list[Fault]:
    """The first few of every source, the sources taking turns."""
    by_source: dict[str, list[Fault]] = {}
    for fault in faults:
        by_source.setdefault(fault.source, []).append(fault)
    turns = zip_longest(*(of_source[:SHOWN_PER_SOURCE] for of_source in by_source.values()))
    return [fault for turn in turns for fault in turn if fault is not None]
