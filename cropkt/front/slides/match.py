"""Which slides belong to whom: table rows and feature files held against each other by their names."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from cropkt.data.persons import TCGA, patient_id, person_of
from cropkt.data.slide_files.slide_names import patient_keys, slide_id

EXAMPLES = 3


@dataclass(frozen=True)
class SlideNames:
    """The slides that have files; `rule` says which part of a name is the patient (`persons.patient_id`)."""

    slides: tuple[str, ...]
    rule: str = TCGA

    @cached_property
    def by_slide(self) -> frozenset[str]:
        """All slides, to look one up."""
        return frozenset(self.slides)

    @cached_property
    def by_patient(self) -> dict[str, list[str]]:
        """The slides that may be a person's, by everything the person may be called."""
        found: dict[str, list[str]] = {}
        for slide in dict.fromkeys(self.slides):
            for key in patient_keys(slide, self.rule):
                found.setdefault(key, []).append(slide)
        return found

    def has_slide(self, written: str) -> bool:
        """Is there a file of the slide that a table writes so, with or without suffix and UUID?"""
        return slide_id(written) in self.by_slide

    def of_patient(self, written: str) -> list[str]:
        """The slides whose names begin with the patient id that a table writes so."""
        patient = patient_id(written, self.rule)
        return self.by_patient.get(person_of(patient), self.by_patient.get(patient.casefold(), []))

    def holding(self, patients: Iterable[str]) -> dict[str, list[str]]:
        """By person, the slides within whose names the patient's id stands (19_H001_HE is of H001), and no other's.

        Only ids with a letter and a digit count: others are words and numbers that names have for other reasons.
        """
        people = {words_of(patient): person_of(patient) for patient in patients if _has_letter_and_digit(patient)}
        longest = max(map(len, people), default=0)
        found: dict[str, list[str]] = {}
        for slide in dict.fromkeys(self.slides):
            words = words_of(slide)
            spans = (words[start : start + length] for length in range(1, longest + 1) for start in range(len(words)))
            within = {people[span] for span in spans if span in people}
            if len(within) == 1:
                found.setdefault(within.pop(), []).append(slide)
        return found


def words_of(name: str) -> tuple[str, ...]:
    """The words and numbers of an id or of a slide's name, in lower case."""
    return tuple(re.findall(r"[^\W_]+", name.casefold()))


def _has_letter_and_digit(name: str) -> bool:
    return any(map(str.isalpha, name)) and any(map(str.isdigit, name))


@dataclass(frozen=True)
class Match:
    """How a table and the files fit: counts, and examples of both sides that have no partner."""

    patients: int
    with_slides: int
    slides: int
    patients_without: tuple[str, ...]
    slides_without: tuple[str, ...]

    def lines(self) -> list[str]:
        """What is told: one line for all that fits, one for each side that does not."""
        lines = [f"{self.with_slides} of {self.patients} patients have {self.slides} slides"]
        if self.patients_without:
            lines.append(f"{len(self.patients_without)} patients without a slide: {_some(self.patients_without)}")
        if self.slides_without:
            lines.append(f"{len(self.slides_without)} slides without a patient: {_some(self.slides_without)}")
        return lines


def match(patients: Iterable[str], slides_written: Sequence[tuple[str, str]] | None, names: SlideNames) -> Match:
    """Hold the `patients` of tables against the slides of `names`.

    `slides_written`: (patient, slide) of each row that names a slide; None where slides are found by the patient.
    """
    slides: dict[str, set[str]] = {patient: set() for patient in patients}
    if slides_written is None:
        for patient in slides:
            slides[patient].update(names.of_patient(patient))
    else:
        for patient, written in slides_written:
            if names.has_slide(written):
                slides.setdefault(patient, set()).add(slide_id(written))
    used = set().union(*slides.values())
    without = tuple(patient for patient, own in slides.items() if not own)
    strangers = tuple(slide for slide in dict.fromkeys(names.slides) if slide not in used)
    return Match(len(slides), len(slides) - len(without), len(used), without, strangers)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")


def likely_cause(patients: Sequence[str], slides: Sequence[str]) -> str:
    """Why the ids of a table may begin no slide's name, with the remedy; "" where nothing speaks for any cause."""
    stems = [slide.casefold() for slide in slides]
    if any(re.fullmatch(r"\d(?:[.,]\d+)?e\+\d+", patient, re.IGNORECASE) for patient in patients):
        return f"A spreadsheet has shortened long ids ({patients[0]}), and they are lost: export the ids anew, as text."
    numbers = {number for slide in stems if (number := re.match(r"\d+", slide))}
    whole = {str(int(number[0])) for number in numbers}
    if whole & {patient.removesuffix(".0") for patient in patients}:
        padded = any(number[0] != str(int(number[0])) for number in numbers)
        lost = "the zeros they begin with" if padded else "their form"
        return f"The table's ids were read as numbers and have lost {lost}: export them anew, as text."
    lengths = {len(patient) for patient in patients}
    if len(lengths) == 1 and {stem[: min(lengths)] for stem in stems} & {patient.casefold() for patient in patients}:
        return f'Slides\' names go on without a break after the id: try --patient-rule "first {min(lengths)}".'
    if len(set(slides)) < len(slides):
        often, times = Counter(slides).most_common(1)[0]
        return (
            f"{times} files are called {often}: give each slide a name of its own, that begins with the patient's id."
        )
    return ""
