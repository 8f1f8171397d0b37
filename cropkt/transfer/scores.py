"""Scores: what all the models that a target still lacks say of it, made in one pass over its slides.

A target's patients are dealt in parts. Whichever process asks takes the next part that nobody works on, reads its
slides once, runs every model over them and stores what they say; when all parts are there, a pair is arithmetic on
stored numbers. So a target's slides are read once, by however many processes, and a part that is done stays done when
a process dies. What is stored is removed when the target's pairs are measured.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cropkt.data.bags import SlideRow, no_bag_left, slide_rows
from cropkt.data.slide_files.slide_faults import SkippedSlide, SlideFault
from cropkt.data.streams.stream import BagFacts, BagStream, NoBagLeftError
from cropkt.data.study import Cohort
from cropkt.errors import CheckpointError
from cropkt.files import atomic_path
from cropkt.models.mil import MILModel
from cropkt.models.precision import torch_dtype
from cropkt.models.predict import Predictions, predict_groups
from cropkt.training.sources import SourcePlan
from cropkt.transfer.store import ResultsFolder

PATIENTS_PER_PART = 16
MOST_PARTS = 32
ATTEMPTS = 2
"""How often a part whose process dies is begun."""

LoadModels = Callable[[str], Sequence[MILModel]]
"""From the name of a source, or of a baseline that has models, to its models."""


class DeadlyPartError(Exception):
    """Process after process has died over the same slides."""


@dataclass(frozen=True)
class ScoreJob:
    """What is to be known of a target, and where it is kept.

    wanted: fingerprint of each source and baseline whose models are to be run. folder: of this target alone.
    """

    folder: Path
    cohort: Cohort
    plan: SourcePlan
    wanted: Mapping[str, str]

    def parts(self) -> list[list[SlideRow]]:
        """The slides in parts of whole patients; the same for every process."""
        patients = [list(rows) for _, rows in groupby(slide_rows(self.cohort), key=lambda row: row[0])]
        return [[row for number in numbers for row in patients[number]] for numbers in dealt(len(patients))]

    def path(self, part: int) -> Path:
        """Where the scores of a part are."""
        return self.folder / f"part_{part}.safetensors"

    def stream(self, slides: Sequence[SlideRow], facts: BagFacts | None = None) -> BagStream:
        """The bags of `slides`, as the plan wants them."""
        plan, cohort = self.plan, self.cohort
        return BagStream(
            cohort.code,
            slides,
            cohort.encoder.dim,
            torch_dtype(plan.precision),
            device=plan.device,
            memory=plan.memory,
            strict=plan.strict,
            facts=facts,
        )


def dealt(patients: int) -> list[np.ndarray]:
    """The places of so many patients, in parts. A matrix product's last bits depend on its rows, so that whoever wants
    a sweep's very numbers deals the patients as a sweep does."""
    return np.array_split(np.arange(patients), min(MOST_PARTS, max(1, patients // PATIENTS_PER_PART)))


def score_target(job: ScoreJob, load: LoadModels) -> BagStream:
    """Make what is missing of the scores, beside other processes; returns the target's bags, their facts known.

    A source whose models cannot be loaded is left out. Raises StudyError when no slide of the target can be used, and
    DeadlyPartError when ATTEMPTS processes have died over a part.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    parts = job.parts()
    for wait in (False, True):  # first what nobody works on, then what somebody has left behind
        for number, slides in enumerate(parts):
            with _claimed(job.folder / f"part_{number}.lock", wait) as mine:
                if mine and not _is_whole(job, number):
                    _attempt(job, number, partial(_score_part, job, number, slides, load))
    slides = slide_rows(job.cohort)
    facts = _joined_facts([_read_facts(job.path(number)) for number in range(len(parts))])
    if not facts.patients:
        raise no_bag_left(job.cohort.code, len(slides))
    return job.stream(slides, facts)


def read_scores(job: ScoreJob, name: str) -> Predictions | None:
    """What the models of `name` say of the target's bags, or None where they were not run."""
    found: list[list[np.ndarray]] = []
    for number in range(len(job.parts())):
        with safe_open(job.path(number), framework="np") as file:
            if f"{name}/risk" not in file.keys():  # noqa: SIM118 (the file is no mapping)
                return None
            found.append([file.get_tensor(f"{name}/{kind}") for kind in ("hazard", "risk", "representation")])
    return Predictions(*(np.concatenate(kind, axis=1) for kind in zip(*found, strict=True)))


def scores_folder(results: ResultsFolder) -> Path:
    """Where scores wait for their pairs to be measured; a folder a target."""
    return results.out / "scores" / results.encoder / results.architecture


def forget_attempts(results: ResultsFolder) -> None:
    """Let parts be begun again that processes of an earlier run have died over, or that lack slides for a reason that
    may be gone, such as a fault of the disk."""
    for path in scores_folder(results).rglob("part_*.begun"):
        path.unlink(missing_ok=True)
    for path in scores_folder(results).rglob("part_*.safetensors"):
        try:
            whole = not any(slide.passing for slide in _read_facts(path).skipped)
        except (OSError, SafetensorError, KeyError, ValueError):
            whole = False
        if not whole:
            path.unlink(missing_ok=True)


def remove_scores(results: ResultsFolder, target: str) -> None:
    """Remove the scores of `target`, whose pairs are measured, and the folders that this leaves empty."""
    folder = scores_folder(results) / target
    shutil.rmtree(folder, ignore_errors=True)
    for parent in list(folder.parents)[:3]:
        if not parent.exists() or any(parent.iterdir()):
            return
        parent.rmdir()


@contextmanager
def _claimed(lock: Path, wait: bool) -> Iterator[bool]:
    """Whether this process alone holds `lock`, waiting for it or not. It is let go when the process ends, however."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:  # a disk without locks: two processes may do the same work, and one's is kept
            mine = True
        yield mine
    finally:
        os.close(handle)


def _is_whole(job: ScoreJob, part: int) -> bool:
    """Whether the scores of `part` are there for all that is wanted, made from what there is today."""
    try:
        with safe_open(job.path(part), framework="np") as file:
            made = json.loads(file.metadata()["fingerprints"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return False
    return all(made.get(name) == fingerprint for name, fingerprint in job.wanted.items())


def _attempt(job: ScoreJob, part: int, work: Callable[[], None]) -> None:
    """Do `work`, counting on disk how often it was begun and not ended."""
    count = job.path(part).with_suffix(".begun")
    begun = len(count.read_bytes()) if count.exists() else 0
    if begun >= ATTEMPTS:
        raise DeadlyPartError(
            f"{job.cohort.code}: {begun} worker processes died over part {part} of its slides (out of memory?); lower "
            "--memory or --workers"
        )
    with open(count, "ab") as file:
        file.write(b".")
    try:
        work()
    finally:  # an error has been told; only a death leaves the count
        count.unlink(missing_ok=True)


def _score_part(job: ScoreJob, part: int, slides: Sequence[SlideRow], load: LoadModels) -> None:
    groups = _loaded(job, load)
    bags = job.stream(slides)
    try:
        found = predict_groups(list(groups.values()), bags) if groups else []
        facts = bags.facts
    except NoBagLeftError as error:
        found, facts = [], error.facts
    tensors = {"lengths": facts.lengths, "means": facts.means}
    for name, predictions in zip(groups, found or [_nothing(models) for models in groups.values()], strict=True):
        for kind, values in vars(predictions).items():
            tensors[f"{name}/{kind}"] = torch.from_numpy(np.ascontiguousarray(values))
    metadata = {
        "fingerprints": json.dumps(dict(job.wanted)),
        "patients": json.dumps(facts.patients),
        "skipped": json.dumps([asdict(slide) for slide in facts.skipped]),
    }
    with atomic_path(job.path(part)) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _loaded(job: ScoreJob, load: LoadModels) -> dict[str, Sequence[MILModel]]:
    groups = {}
    for name in job.wanted:
        try:
            groups[name] = load(name)
        except CheckpointError:
            continue  # whoever measures the pair finds the same, and says it
    return groups


def _nothing(models: Sequence[MILModel]) -> Predictions:
    """Predictions for no bags."""
    shape, count = models[0].architecture, len(models)
    hazard = np.empty((count, 0, shape.intervals), np.float32)
    return Predictions(hazard, np.empty((count, 0), np.float32), np.empty((count, 0, shape.embedding), np.float32))


def _read_facts(path: Path) -> BagFacts:
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
        skipped = [SkippedSlide(**{**one, "kind": SlideFault(one["kind"])}) for one in json.loads(told["skipped"])]
        patients = tuple(json.loads(told["patients"]))
        return BagFacts(patients, file.get_tensor("lengths"), file.get_tensor("means"), tuple(skipped))


def _joined_facts(parts: Sequence[BagFacts]) -> BagFacts:
    return BagFacts(
        tuple(patient for part in parts for patient in part.patients),
        torch.cat([part.lengths for part in parts]),
        torch.cat([part.means for part in parts]),
        tuple(slide for part in parts for slide in part.skipped),
    )
