"""What a cohort is made of, as digests: enough to say whether it is the same, and if not, what has changed.

Digests stand for patients and slides too, so an identity can be kept and shared beside results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from cropkt.data.patients.folds import Fold
from cropkt.files import digest

IDENTITY_VERSION = 1


@dataclass(frozen=True)
class CohortIdentity:
    """The ingredients of a cohort.

    encoder: name and width. labels: digest of a patient's id -> of time, event and project. folds: digest of each fold.
    slides: digest of a slide's patient and name -> of its content and its place among the patient's slides; the content
    is "" where it could not be read.
    """

    encoder: str
    labels: dict[str, str]
    folds: tuple[str, ...]
    slides: dict[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any ingredient, and not with the place of the study or the files' times."""
        return digest(IDENTITY_VERSION, asdict(self))

    def differences(self, other: "CohortIdentity") -> list[str]:
        """What of `self` is different in `other`, the later one: `["3 slides changed", "12 labels changed"]`."""
        found = []
        if self.encoder != other.encoder:
            found.append(f"encoder {self.encoder} is now {other.encoder}")
        found += _differences(self.slides, other.slides, "slide")
        found += _differences(self.labels, other.labels, "label")
        if self.folds != other.folds:
            found.append(_changed_folds(self.folds, other.folds))
        return found

    def with_folds(self, splits: Sequence[Fold]) -> "CohortIdentity":
        """The same cohort, split otherwise."""
        return replace(self, folds=_digests(splits))

    def knows_content(self, patient: str, slide: str) -> bool:
        """Whether the slide's content could be read when the study was opened, and so is part of the fingerprint."""
        return bool(self.slides.get(digest(patient, slide)))

    def as_json(self) -> dict[str, Any]:
        """For `write_json`; `from_json` reads it back."""
        return {"version": IDENTITY_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> "CohortIdentity | None":
        """The identity written as `value`, or None where it is none, or one of another version."""
        if not isinstance(value, dict) or value.get("version") != IDENTITY_VERSION:
            return None
        try:
            identity = cls(value["encoder"], dict(value["labels"]), tuple(value["folds"]), dict(value["slides"]))
        except (KeyError, TypeError, ValueError):
            return None
        return identity if isinstance(identity.encoder, str) else None


def cohort_identity(
    encoder: str,
    width: int,
    labels: pd.DataFrame,
    splits: Sequence[Fold],
    slides: pd.DataFrame,
    contents: Mapping[str, str | None],
) -> CohortIdentity:
    """The identity of a cohort with these tables (see `Cohort`); `contents` are digests by the slides' paths."""
    by_patient = labels[["time", "event", "project"]].itertuples(name=None)
    place = slides.groupby("patient_id").cumcount()
    by_slide = zip(slides["patient_id"], slides["slide"], slides["path"], place, strict=True)
    return CohortIdentity(
        f"{encoder} ({width} wide)",
        {
            digest(patient): digest(float(time), int(event), str(project))
            for patient, time, event, project in by_patient
        },
        _digests(splits),
        {
            digest(patient, slide): digest(contents[path], int(number)) if contents[path] else ""
            for patient, slide, path, number in by_slide
        },
    )


def _digests(splits: Sequence[Fold]) -> tuple[str, ...]:
    return tuple(digest(fold.train, fold.test, fold.validation) for fold in splits)


def _differences(before: Mapping[str, str], after: Mapping[str, str], what: str) -> list[str]:
    changed = sum(1 for name in before.keys() & after.keys() if before[name] != after[name])
    counts = {
        "changed": changed,
        "added": len(after.keys() - before.keys()),
        "removed": len(before.keys() - after.keys()),
    }
    return [f"{count} {what}{'s' if count != 1 else ''} {how}" for how, count in counts.items() if count]


def _changed_folds(before: Sequence[str], after: Sequence[str]) -> str:
    if len(before) != len(after):
        return f"{len(before)} folds are now {len(after)}"
    changed = [str(number) for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    return f"{'folds' if len(changed) > 1 else 'fold'} {', '.join(changed)} changed"
