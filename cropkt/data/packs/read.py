"""Packed slides as tensors that are memory-mapped, not copied."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from cropkt.data.packs.index import is_packed, packed_slide
from cropkt.data.slide_files.slide_content import SlideContent
from cropkt.data.slide_files.slide_faults import FeatureFileError, SlideFault, fault_of
from cropkt.errors import StudyError


@contextmanager
def opened_packed(path: Path) -> Iterator[SlideContent]:
    """The content of a packed slide; features are mapped, and read from the disk when they are looked at."""
    slide = packed_slide(path)
    if slide.fault:
        raise FeatureFileError(SlideFault(slide.fault), slide.reason)
    features, coordinates = mapped(path.parent, slide.file, slide.first, slide.patches)
    given = coordinates.to(getattr(torch, slide.coordinates)) if slide.coordinates else None
    yield SlideContent(features, given, lambda: slide.encoder or None)


def mapped(folder: Path, file: str, first: int, n_patches: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a pack's `file`: features (patches, D) and coordinates (patches, 2), memory-mapped."""
    try:
        with safe_open(folder / file, framework="pt") as opened:
            rows = slice(first, first + n_patches)
            features, coordinates = opened.get_slice("features")[rows], opened.get_slice("coords")[rows]
    except (SafetensorError, OSError) as error:
        raise fault_of(error) from error
    if len(features) != n_patches:
        reason = f"{file} holds fewer patches than the index says; pack the cohort again"
        raise FeatureFileError(SlideFault.UNREADABLE, reason)
    return features, coordinates


def mapped_together(paths: Sequence[str], dtype: torch.dtype) -> torch.Tensor | None:
    """The features of these packed slides as one mapped tensor (P, D); None where they are not `dtype` one after the
    other in one file."""
    if not paths or not all(map(is_packed, paths)):
        return None
    slides = [packed_slide(path) for path in paths]
    one_file = len({(str(Path(path).parent), slide.file) for path, slide in zip(paths, slides, strict=True)}) == 1
    in_order = all(before.first + before.patches == after.first for before, after in pairwise(slides))
    if not (one_file and in_order and slides[0].file and f"torch.{slides[0].dtype}" == str(dtype)):
        return None
    patches = sum(slide.patches for slide in slides)
    return mapped(Path(paths[0]).parent, slides[0].file, slides[0].first, patches)[0]


def require_same_numbers(paths: Iterable[str], dtype: torch.dtype) -> None:
    """Raise StudyError where packed slides read as `dtype` would give other numbers than their files."""
    name = str(dtype).removeprefix("torch.")
    for path in filter(is_packed, paths):
        try:
            slide = packed_slide(path)
        except FeatureFileError:
            continue  # named when it is read
        if not (slide.fault or slide.dtype == name or slide.is_exact):
            raise StudyError(
                f"{Path(path).parent}: packed as {slide.dtype} from files of {slide.source_dtype}, and {name} is asked "
                f"for: results would carry the rounding; use --precision {slide.dtype} where that is one, or pack with "
                f"--dtype {name}"
            )


def source_dtype(content: SlideContent) -> str:
    """The type of a file's features."""
    dtype = content.features.dtype
    return str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else f"float{8 * dtype.itemsize}"


def coordinate_dtype(content: SlideContent) -> str:
    """The type of a file's coordinates as torch names it; "" where there are none."""
    if content.coordinates is None:
        return ""
    dtype = content.coordinates.dtype
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else np.dtype(dtype).name
    return name if isinstance(getattr(torch, name, None), torch.dtype) else "float64"
