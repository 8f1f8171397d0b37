"""Pack cohorts: many slides' files into few large ones, by several processes, going on where a run was stopped.

A file of a pack is whole or absent, and its name says what it is made of, so that what is there already is kept. The
index is written when all files are there, and only then are files of an older pack removed.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from cropkt.data.packs import DTYPES
from cropkt.data.packs.index import INDEX, PackedSlide, load_index, write_index
from cropkt.data.packs.read import coordinate_dtype, source_dtype
from cropkt.data.slide_files.digests import slide_digests
from cropkt.data.slide_files.features import header, opened_slide, read_coordinates, read_features_into
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault
from cropkt.data.study import Cohort
from cropkt.errors import ConfigError, refuse_unknown
from cropkt.files import atomic_path, digest, sweep_temporaries

PACK_VERSION = 1
FILE_BYTES = 2**30
"""About how large a file is. A patient's slides are always in one."""
ALIGNED = 64
SAFETENSORS_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True)
class Source:
    """A slide to pack: where it is, its patches as the header says (0: it is bad), and its content's digest."""

    patient: str
    slide: str
    path: str
    patches: int
    digest: str


@dataclass(frozen=True)
class PackFile:
    """One file of a pack, to be written: in which folder, of which slides, one after the other."""

    folder: Path
    slides: tuple[Source, ...]
    width: int
    dtype: str

    @property
    def name(self) -> str:
        """The file's name: another one when anything in it would be another."""
        content = [(slide.patient, slide.slide, slide.patches, slide.digest) for slide in self.slides]
        return f"{digest(PACK_VERSION, content, self.width, self.dtype)}.safetensors"

    @property
    def listing(self) -> Path:
        """Its part of the index, written after it."""
        return (self.folder / self.name).with_suffix(".parquet")


def pack_cohorts(
    cohorts: Sequence[Cohort],
    folder: Path,
    *,
    dtype: str,
    workers: int,
    cache: Path | None,
    file_bytes: int = FILE_BYTES,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list[PackedSlide]]:
    """Pack `cohorts`, opened from their files, under `folder`; returns the packed slides by cohort.

    What an earlier run has packed of the same content is kept. A slide that cannot be read is in the index with its
    fault. `cache`: the study's digests. `report(done, files)` is called as files are done. Raises ConfigError when
    another run packs into `folder`.
    """
    refuse_unknown("--dtype", dtype, list(DTYPES))
    with _alone(folder):
        sweep_temporaries(folder, older_than=0)
        plans = {cohort.code: _plan(cohort, folder, dtype, cache, file_bytes) for cohort in cohorts}
        every = [file for of_cohort in plans.values() for file in of_cohort]
        missing = [file for file in every if not _is_there(file)]
        if report is not None:
            report(len(every) - len(missing), len(every))
        for done, _ in enumerate(_in_processes(missing, workers), start=len(every) - len(missing) + 1):
            if report is not None:
                report(done, len(every))
        return {code: _conclude(folder / code, files) for code, files in plans.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"--to {folder}: another run is packing into it; wait for it") from error
        yield
    finally:
        os.close(handle)


def _plan(cohort: Cohort, folder: Path, dtype: str, cache: Path | None, file_bytes: int) -> list[PackFile]:
    """The files of a cohort: whole patients in the order of their names, up to `file_bytes` each."""
    contents = slide_digests(cohort.slides["path"], cache)
    columns = ["patient_id", "slide", "path", "patches"]
    sources = [
        Source(patient, slide, path, int(patches), contents[path] or "")
        for patient, slide, path, patches in cohort.slides[columns].itertuples(index=False, name=None)
    ]
    row = cohort.encoder.dim * getattr(torch, dtype).itemsize
    files: list[list[Source]] = []
    size = 0
    for _, group in groupby(sources, key=lambda source: source.patient):
        slides = list(group)
        more = row * sum(slide.patches for slide in slides)
        if not files or (size and size + more > file_bytes):
            files.append([])
            size = 0
        files[-1] += slides
        size += more
    return [PackFile(folder / cohort.code, tuple(slides), cohort.encoder.dim, dtype) for slides in files]


def _is_there(file: PackFile) -> bool:
    try:
        slides = load_index(file.listing)
    except FeatureFileError:
        return False
    return all(not slide.file or (file.folder / slide.file).exists() for slide in slides)


def _in_processes(files: Sequence[PackFile], workers: int) -> Iterator[None]:
    if workers <= 1 or len(files) <= 1:
        yield from map(write_file, files)
        return
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(files)), fresh, initializer=_end_with_parent) as processes:
        running = [processes.submit(write_file, file) for file in files]
        for future in as_completed(running):
            yield future.result()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_file(file: PackFile) -> None:
    """Write one file of a pack and then its part of the index. The file is mapped: memory does not grow with it."""
    described = [_described(source, file) for source in file.slides]
    patches = sum(slide.patches for slide in described)
    written: list[PackedSlide] = []
    if patches:
        with atomic_path(file.folder / file.name) as temporary:
            features, coordinates = _empty_file(temporary, patches, file.width, file.dtype)
            end = 0
            for source, slide in zip(file.slides, described, strict=True):
                written.append(_write_slide(source, replace(slide, first=end), features, coordinates))
                end += written[-1].patches
            del features, coordinates
    with atomic_path(file.listing) as temporary:
        write_index(temporary, written or described)


def _described(origin: Source, file: PackFile) -> PackedSlide:
    """What the index says of a slide, but for its place and checksum."""
    slide = PackedSlide(
        origin.patient,
        origin.slide,
        file.name,
        first=0,
        patches=0,
        width=file.width,
        dtype=file.dtype,
        source_dtype="",
        coordinates="",
        encoder="",
        digest=origin.digest,
        checksum="",
    )
    try:
        patches, width = header(origin.path)
        if width != file.width:
            raise FeatureFileError(SlideFault.WIDTH, f"has {width} features, not {file.width}")
        with opened_slide(origin.path) as content:
            return replace(
                slide,
                patches=patches,
                source_dtype=source_dtype(content),
                coordinates=coordinate_dtype(content),
                encoder=content.encoder() or "",
            )
    except FeatureFileError as error:
        return replace(slide, file="", fault=str(error.fault), reason=str(error))


def _write_slide(origin: Source, packed: PackedSlide, features: torch.Tensor, coordinates: torch.Tensor) -> PackedSlide:
    if packed.fault:
        return packed
    rows = slice(packed.first, packed.first + packed.patches)
    try:
        read_features_into(origin.path, features[rows])
        found = read_coordinates(origin.path)
    except FeatureFileError as error:  # its rows are left to the next slide
        return replace(packed, file="", patches=0, fault=str(error.fault), reason=str(error))
    coordinates[rows] = torch.nan if found is None else torch.from_numpy(found.astype(np.float64))
    return replace(packed, checksum=checksum(features[rows], coordinates[rows]))


def checksum(features: torch.Tensor, coordinates: torch.Tensor) -> str:
    """SHA-256 of a slide's packed bytes, features and then coordinates."""
    state = hashlib.sha256()
    for tensor in (features, coordinates):
        state.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return state.hexdigest()


def _empty_file(path: Path, n_patches: int, width: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A safetensors file for features (patches, width) and coordinates (patches, 2), mapped to be filled.

    Its head is written here, as the library's own writer wants all bytes in memory, twice.
    """
    kind = getattr(torch, dtype)
    size = n_patches * (16 + width * kind.itemsize)
    head = json.dumps(
        {
            "coords": {"dtype": "F64", "shape": [n_patches, 2], "data_offsets": [0, n_patches * 16]},
            "features": {
                "dtype": SAFETENSORS_NAMES[dtype],
                "shape": [n_patches, width],
                "data_offsets": [n_patches * 16, size],
            },
        }
    ).encode()
    head += b" " * (-(len(head) + 8) % ALIGNED)
    with open(path, "r+b") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        os.posix_fallocate(stream.fileno(), 0, 8 + len(head) + size)
    octets = torch.from_file(str(path), shared=True, size=8 + len(head) + size, dtype=torch.uint8)[8 + len(head) :]
    coordinates = octets[: n_patches * 16].view(torch.float64).reshape(n_patches, 2)
    return octets[n_patches * 16 :].view(kind).reshape(n_patches, width), coordinates


def _conclude(folder: Path, files: Sequence[PackFile]) -> list[PackedSlide]:
    """Write the cohort's index, and remove what it does not name."""
    slides = [slide for file in files for slide in load_index(file.listing)]
    with atomic_path(folder / INDEX) as temporary:
        write_index(temporary, slides)
    kept = {file.name for file in files} | {file.listing.name for file in files} | {INDEX}
    for path in folder.iterdir():
        if path.name not in kept and path.suffix in (".safetensors", ".parquet"):
            path.unlink()
    return slides
