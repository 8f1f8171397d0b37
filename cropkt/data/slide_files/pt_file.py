"""Feature files of PyTorch: a tensor, a NumPy array (TRIDENT), a Parameter, or a dict with one of them under a name.

Files are loaded with `weights_only=True`. To what torch allows of itself, the few functions that rebuild a NumPy array
of numbers are added while a file is loaded, and nothing else: no file can run code.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cropkt.data.slide_files.slide_content import (
    COORDINATE_NAMES,
    FEATURE_NAMES,
    SlideContent,
    choose_features,
    encoder_in,
    require_floating,
)
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault, fault_of, require_regular

_rebuild_array = np.ndarray.__reduce__(np.empty(0))[0]
ARRAYS_OF_NUMBERS: list[Any] = [
    (_rebuild_array, "numpy._core.multiarray._reconstruct"),  # as NumPy 2 writes it
    (_rebuild_array, "numpy.core.multiarray._reconstruct"),  # as NumPy 1 wrote it
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
_loading = threading.Lock()
"""torch keeps one list of what is allowed for the whole process."""

SAVE_ALONE = "save the features alone: torch.save(features.detach().cpu(), path)"


@contextmanager
def opened_pt(path: Path) -> Iterator[SlideContent]:
    """The content of the file at `path`, as (lazily mapped) tensors. Any failure becomes a FeatureFileError."""
    require_regular(path)
    value = _load(path)
    held: Mapping[Any, Any] = value if isinstance(value, dict) else {FEATURE_NAMES[0]: value}
    arrays = {str(name): array for name, array in held.items() if isinstance(array, np.ndarray | torch.Tensor)}
    if not isinstance(value, dict) and not arrays:
        raise FeatureFileError(SlideFault.NO_FEATURES, f"holds a {type(value).__name__}, not a tensor; {SAVE_ALONE}")
    named = {name: arrays[name] for name in FEATURE_NAMES if name in arrays}
    features = _dense(choose_features(named, ", ".join(map(str, list(held)[:8]))))
    require_floating(str(features.dtype).removeprefix("torch."))
    coordinates = next((_dense(arrays[name]) for name in COORDINATE_NAMES if name in arrays), None)
    yield SlideContent(features, coordinates, lambda: encoder_in(held))


def _load(path: Path) -> Any:
    with _loading, torch.serialization.safe_globals(ARRAYS_OF_NUMBERS):
        try:
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # files of before torch 1.6 cannot be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load fails in as many ways as there are damaged files
            raise _fault_of_load(error) from error


def _fault_of_load(error: Exception) -> FeatureFileError:
    """The fault, in our words: torch's own message advises to load the file without its safety."""
    if isinstance(error, OSError):
        return fault_of(error)
    if "TorchScript" in str(error):
        return FeatureFileError(SlideFault.NOT_NUMBERS, f"is a TorchScript program, not features; {SAVE_ALONE}")
    found = re.search(r"GLOBAL ([\w.]+)|got <class '([\w.]+)'>", str(error))
    if found:
        reason = (
            f"holds a {found[1] or found[2]}; only tensors, arrays and dicts of them are read, as anything else may "
        )
        return FeatureFileError(SlideFault.NOT_NUMBERS, f"{reason}run code; {SAVE_ALONE}")
    reason = "cannot be read: damaged, cut short, or not written by torch.save; extract the slide again"
    return FeatureFileError(SlideFault.UNREADABLE, reason)


def _dense(value: np.ndarray | torch.Tensor) -> torch.Tensor:
    """`value` as an ordinary tensor whose numbers are in the file, without gradient."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=False))
    tensor = value.detach()
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "quantised" if tensor.is_quantized else "nested" if tensor.is_nested else str(tensor.layout)
        reason = f"holds a tensor that is {kind}, not dense; save it dense: torch.save(features.to_dense(), path)"
        raise FeatureFileError(SlideFault.TYPE, reason)
    stored = 0 if tensor.is_meta else tensor.untyped_storage().nbytes()
    if stored < tensor.numel() * tensor.element_size():
        reason = f"promises numbers of shape {tuple(tensor.shape)} and holds {stored:,} bytes; {SAVE_ALONE}"
        raise FeatureFileError(SlideFault.UNWRITTEN, reason)
    return tensor
