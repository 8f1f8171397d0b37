"""True today: whose study a results folder holds, and which of its records may be in the tables.

A results folder belongs to one study (OUT/study.json). A record may be in a table while it is whole and its fingerprint
is the one that today's study and settings give. A run knows that of its own encoder and architecture. For the others,
OUT/current/ENCODER/ARCHITECTURE.json says what their last run found to be current, and on which labels and splits of
each cohort: their rows stay while those are today's.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cropkt.data.identity import CohortIdentity
from cropkt.data.patients.label_sources import label_sources
from cropkt.data.study import Study
from cropkt.data.study_yaml.patterns import study_path
from cropkt.errors import ConfigError
from cropkt.files import digest, read_json, stored_files, write_json
from cropkt.transfer.baselines import BASELINES
from cropkt.transfer.rows import StaleRow
from cropkt.transfer.significance import sources_beyond_cohorts
from cropkt.transfer.store import PairRecord, ResultsFolder, check_record

Expected = Callable[[str, str], str | None]
"""(source or baseline, target) to the fingerprint that today's study and settings give; None for a pair whose cohorts
the study does not have."""

NOT_IN_STUDY = "the study has no such cohort"
NOT_REMEMBERED = "labels or splits may have changed since the last run with this encoder and architecture; run it again"
FAILED = "failed"
"""Stands for the fingerprint of a failure, which has none, among the remembered ones."""


@dataclass(frozen=True)
class StudyCard:
    """The study that a results folder belongs to. cohorts: by code, a digest of label table and split files, which
    changes with any of their bytes. digest: of all of them. folder: where the study is, seen from the results folder.
    """

    name: str
    digest: str
    cohorts: Mapping[str, str]
    folder: str


@dataclass(frozen=True)
class Current:
    """Records that may be in the tables, and those that may not, with the reason."""

    records: list[PairRecord]
    stale: list[StaleRow]


def study_card(study: Study, out: Path) -> StudyCard:
    """What identifies `study`, whichever encoder it was opened with, for the results folder `out`."""
    settings = study.settings
    cohorts = {}
    for code in study.cohorts:
        paths = [source.path for source in label_sources(code, study.folder, settings, str)]
        paths += [study_path(study.folder, settings.splits, cohort=code, fold=fold) for fold in range(settings.folds)]
        found = hashlib.blake2b(digest_size=8)
        for path in paths:
            found.update(Path(path).read_bytes())
        cohorts[code] = found.hexdigest()
    folder = Path(os.path.relpath(study.folder.resolve(), out.resolve())).as_posix()
    return StudyCard(study.name, digest(study.name, cohorts), cohorts, folder)


def claim(out: Path, study: Study) -> StudyCard:
    """Make `out` the results folder of `study`; returns the study's card.

    Another version of the same study may go on: what has changed is measured again. Raises ConfigError when `out` holds
    results of a study of another name.
    """
    check_owner(out, study.name)
    card = study_card(study, out)
    if card != read_study_card(out):
        write_json(study_card_path(out), vars(card))
    return card


def what_changed(out: Path, study: Study) -> list[str]:
    """What of each cohort's labels, folds and slides has changed since the last run into `out` with this encoder, a
    line a cohort; and note what they are today."""
    path = out / "current" / f"{study.encoder.name}.json"
    known = read_json(path) or {}
    today = {code: cohort.identity for code, cohort in study.cohorts.items() if cohort.identity is not None}
    said = []
    for code, identity in today.items():
        before = CohortIdentity.from_json(known.get(code))
        if before is not None and before != identity:
            said.append(f"{code}: {', '.join(before.differences(identity))} since the last run")
    content = {code: identity.as_json() for code, identity in today.items()}
    if content != known:
        write_json(path, content)
    return said


def check_owner(out: Path, study_name: str) -> None:
    """Raise ConfigError when `out` holds results of a study of another name than `study_name`."""
    known = read_study_card(out)
    if known is not None and known.name != study_name:
        raise ConfigError(
            f"--out {out}: holds results of study {known.name}, and a results folder belongs to one study; "
            f"name another folder for study {study_name}, or delete this one"
        )


def study_card_path(out: Path) -> Path:
    """Where a results folder keeps the card of its study."""
    return out / "study.json"


def read_study_card(out: Path) -> StudyCard | None:
    """The card of the study that `out` belongs to, or None before the first run, or when it is damaged."""
    known = read_json(study_card_path(out)) or {}
    name, whole, cohorts, folder = (known.get(key) for key in ("name", "digest", "cohorts", "folder"))
    if isinstance(name, str) and isinstance(whole, str) and isinstance(cohorts, dict) and isinstance(folder, str):
        return StudyCard(name, whole, cohorts, folder)
    return None


def study_folder(out: Path) -> Path | None:
    """Where the study is that `out` holds results of; None before the first run, or where its card is damaged.

    Raises ConfigError when the study is not where it was.
    """
    card = read_study_card(out)
    if card is None:
        return None
    folder = (out / card.folder).resolve()
    if not (folder / "study.yaml").is_file():
        raise ConfigError(
            f"--out {out}: study {card.name}, of which it holds results, is no longer at {folder}; name it with --study"
        )
    return folder


def known_study_folder(out: Path) -> Path:
    """As `study_folder`; raises ConfigError also where `out` does not say which study it is of."""
    folder = study_folder(out)
    if folder is None:
        raise ConfigError(
            f"{out}: does not say which study it is of; run the sweep again, or give --study where there is that flag"
        )
    return folder


def current_records(
    results: ResultsFolder, expected: Expected, target: str | None = None, *, unknown: str = NOT_IN_STUDY
) -> Current:
    """The records of `results` (of one target) that are whole and have today's fingerprint, and the others.

    `unknown` is the reason that is given for a pair which `expected` does not know.
    Failures of pairs that today's study has are current: that a pair failed is what is known of it.
    """
    records, stale = [], []
    for source, of in results.stored(target):
        record, why = check_record(results, source, of)
        wanted = expected(source, of)
        if record is None:
            why = f"{why}; it is measured again by the next sweep of this pair"
        elif wanted is None:
            why = unknown
        elif record.fingerprint not in (None, wanted):
            why = "study, models or settings have changed since it was measured"
        else:
            records.append(record)
            continue
        stale.append(StaleRow(source, of, results.encoder, results.architecture, why))
    return Current(records, stale)


def remember(results: ResultsFolder, current: Current) -> None:
    """Note which records of `results` are current, for the tables that runs of other architectures write."""
    known = read_study_card(results.out)
    fingerprints: dict[str, dict[str, str]] = {}
    for record in current.records:
        fingerprints.setdefault(record.pair.target, {})[record.pair.source] = record.fingerprint or FAILED
    content = {"cohorts": dict(known.cohorts) if known else {}, "fingerprints": fingerprints}
    if read_json(_remembered_path(results)) != content:
        write_json(_remembered_path(results), content)


def remembered(results: ResultsFolder) -> Expected:
    """What the last run of `results` found to be current, as far as labels and splits are still those of that run."""
    content = read_json(_remembered_path(results)) or {}
    fingerprints, then = content.get("fingerprints", {}), content.get("cohorts", {})
    known = read_study_card(results.out)
    now = known.cohorts if known else {}

    def expected(source: str, target: str) -> str | None:
        if source in sources_beyond_cohorts():  # any cohort may have trained it
            cohorts = sorted({*then, *now})
        else:
            cohorts = [target] if source in BASELINES else [source, target]
        if any(now.get(code) != then.get(code) for code in cohorts):
            return None
        return fingerprints.get(target, {}).get(source)

    return expected


def _remembered_path(results: ResultsFolder) -> Path:
    return results.out / "current" / results.encoder / f"{results.architecture}.json"


def all_results(out: Path) -> list[ResultsFolder]:
    """One folder for each encoder and architecture that has records in `out`."""
    kinds = sorted({path.parent.parent for path in stored_files(out / "pairs", "*/*/*/*.json")})
    return [ResultsFolder(out, kind.parent.name, kind.name) for kind in kinds]
