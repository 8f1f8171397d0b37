"""A cohort's features in little: every patient's mean, and a few patches of each, drawn while slides stream by.

Each slide is read once and let go, so memory does not grow with the number of patches. Patients count equally, however
large their slides are: they are what is sampled from a population, their patches are not independent.
"""

from dataclasses import dataclass

import numpy as np

from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.data.study import Cohort
from cropkt.errors import StudyError
from cropkt.seeds import generator


@dataclass(frozen=True)
class FeatureSample:
    """B patients of a cohort: means (B, D) over all their patches, and n sampled patches (n, D), all float32.

    owner: (n,) index of each patch's patient, ascending. origin: (n, 2) its row in `cohort.slides` and in the slide.
    patches_seen: patches the means rest on.
    """

    code: str
    patients: tuple[str, ...]
    means: np.ndarray
    patches: np.ndarray
    owner: np.ndarray
    origin: np.ndarray
    patches_seen: int


def sample_cohort(cohort: Cohort, n_patches: int, seed: int) -> FeatureSample:
    """About `n_patches` patches of `cohort`, the same number of each patient as far as it has them, at least one.

    Slides that cannot be used are left out, as the sweep has left them out and named them. Raises StudyError when no
    slide is left.
    """
    slides = cohort.slides.reset_index(drop=True)
    share = max(1, round(n_patches / slides["patient_id"].nunique()))
    patients: list[str] = []
    means: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    owner: list[int] = []
    origin: list[tuple[int, int]] = []
    seen = 0
    for patient, of_patient in slides.groupby("patient_id", sort=True):
        random = generator(seed, "factors", "patches", cohort.code, str(patient))
        wanted = np.sort(random.permutation(int(of_patient["patches"].sum()))[:share])
        total, count, start = np.zeros(cohort.encoder.dim), 0, 0
        for row, path, length in zip(of_patient.index, of_patient["path"], of_patient["patches"], strict=True):
            features = _usable(path) if length else None
            inside = wanted[(wanted >= start) & (wanted < start + length)] - start
            start += length
            if features is None:
                continue
            total = total + features.sum(axis=0, dtype=np.float64)
            count += len(features)
            drawn.append(features[inside].astype(np.float32))
            owner += [len(patients)] * len(inside)
            origin += [(row, index) for index in inside]
        if count:
            patients.append(str(patient))
            means.append(total / count)
            seen += count
    if not drawn or not owner:
        raise StudyError(f"{cohort.code}: none of its {len(slides)} slides can be used")
    return FeatureSample(
        cohort.code,
        tuple(patients),
        np.array(means, dtype=np.float32),
        np.concatenate(drawn),
        np.array(owner, dtype=np.int64),
        np.array(origin, dtype=np.int64),
        seen,
    )


def _usable(path: str) -> np.ndarray | None:
    try:
        return read_features(path)
    except FeatureFileError:
        return None
