"""The files by which cohorts lend to each other without showing a patient: moments, axes, summaries.

Each is one safetensors file, numbers in float32, facts as JSON in its header. Who sends what, in this order:
1. every hospital sends its moments (a mean, variances, and the leading axes of a covariance: 400 kB at D = 1536);
2. from them the axes are built and sent back (100 kB at K = 16);
3. every hospital sends its summary on these axes (10 kB).
A hospital that joins a library whose axes are fixed already needs one round: it takes the axes and sends its summary.
One that only wants to borrow takes axes and summaries and sends nothing. Moments and summaries are sums over patients,
not anonymised by noise: two cohorts that differ in one patient differ in what that patient adds.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cropkt.borrowing.axes import Axes, Moments
from cropkt.borrowing.summary import Summary
from cropkt.errors import InputError
from cropkt.files import atomic_path

VERSION = 1
"""Raised when what the numbers mean changes."""


def write_moments(path: Path, moments: Moments) -> None:
    """Write a cohort's moments, atomically."""
    arrays = {"mean": moments.mean, "variance": moments.variance, "factor": moments.factor}
    _write(path, "moments", arrays, cohort=moments.cohort, patients=moments.patients)


def read_moments(path: Path) -> Moments:
    """Raises InputError for a file that is missing, damaged, of another kind or another version."""
    facts, arrays = _read(path, "moments")
    return Moments(str(facts["cohort"]), int(facts["patients"]), arrays["mean"], arrays["variance"], arrays["factor"])


def write_axes(path: Path, axes: Axes) -> None:
    """Write axes, atomically."""
    _write(path, "axes", {"scale": axes.scale, "directions": axes.directions})


def read_axes(path: Path) -> Axes:
    """Raises InputError as `read_moments` does."""
    _, arrays = _read(path, "axes")
    return Axes(arrays["scale"], arrays["directions"])


def write_summary(path: Path, summary: Summary) -> None:
    """Write a cohort's summary, atomically."""
    arrays = {"information": summary.information, "linear": summary.linear, "centroid": summary.centroid}
    counts = {"patients": summary.patients, "events": summary.events}
    _write(path, "summary", arrays, cohort=summary.cohort, axes=summary.axes, **counts)


def read_summary(path: Path) -> Summary:
    """Raises InputError as `read_moments` does."""
    facts, arrays = _read(path, "summary")
    return Summary(
        str(facts["cohort"]),
        int(facts["patients"]),
        int(facts["events"]),
        arrays["information"],
        arrays["linear"],
        arrays["centroid"],
        str(facts["axes"]),
    )


def _write(path: Path, kind: str, arrays: dict[str, np.ndarray], **facts: str | int) -> None:
    header = {"kind": kind, "version": VERSION, **facts}
    single = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    with atomic_path(Path(path)) as temporary:
        save_file(single, temporary, metadata={"borrowing": json.dumps(header)})


def _read(path: Path, kind: str) -> tuple[dict[str, str | int], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as stream:
            header = json.loads((stream.metadata() or {})["borrowing"])
            arrays = {name: stream.get_tensor(name).astype(np.float64) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as {kind} ({error}); write it again with this version") from error
    if (header["kind"], header["version"]) != (kind, VERSION):
        found = f"{header['kind']} of version {header['version']}"
        raise InputError(f"{path}: holds {found}, where {kind} of version {VERSION} is needed; write it again")
    return header, arrays
