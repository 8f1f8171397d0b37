"""Facts about a cohort that might make it a good source or an easy target."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cropkt.data.study import Cohort
from cropkt.factors.facts.sample import FeatureSample
from cropkt.survival.restricted_mean import HORIZON, HORIZONS, median_follow_up, pseudo_observations, restricted_mean

BARCODE = re.compile(r"TCGA-(?P<site>[0-9A-Z]{2})-[0-9A-Z]{4}(?:-(?P<kind>\d{2}))?", re.IGNORECASE)
"""A TCGA barcode: tissue source site, and the sample's kind (01 primary tumour, 06 metastasis)."""
DISCARDED = 0.1
"""Share of points with the largest ratio of neighbours' distances, as Facco et al. leave out."""


@dataclass(frozen=True)
class SurvivalFacts:
    """Size, events, follow-up and restricted mean survival of a cohort.

    median_follow_up, rmst and rmst_standard_error (up to HORIZON) in days; rmst_1y to rmst_5y as shares of their
    horizon; followed_to_horizon: patients known to be alive at HORIZON.
    """

    patients: int
    slides: int
    patches: int
    events: int
    event_rate: float
    events_per_year: float
    median_follow_up: float
    rmst: float
    rmst_standard_error: float
    rmst_1y: float
    rmst_2y: float
    rmst_3y: float
    rmst_5y: float
    followed_to_horizon: int


@dataclass(frozen=True)
class SamplingFacts:
    """How pure a cohort is: the chance that two patients share a tissue source site, and a TCGA project, and the share
    of slides of primary tumours. NaN where names are not TCGA barcodes."""

    site_purity: float
    project_purity: float
    primary_share: float


@dataclass(frozen=True)
class FeatureFacts:
    """Dispersion (total variance) of patches and of patients' means; how many dimensions patches fill, by two
    estimates."""

    dispersion_patches: float
    dispersion_patients: float
    participation_ratio: float
    two_nn_dimension: float


def survival_facts(cohort: Cohort) -> SurvivalFacts:
    """SurvivalFacts of `cohort`."""
    time, event = cohort.labels["time"].to_numpy(), cohort.labels["event"].to_numpy()
    pseudo = pseudo_observations(time, event, HORIZON)
    years = time.sum() / 365.25
    shares = {f"rmst_{name}": restricted_mean(time, event, horizon) / horizon for name, horizon in HORIZONS.items()}
    return SurvivalFacts(
        patients=len(time),
        slides=len(cohort.slides),
        patches=int(cohort.slides["patches"].sum()),
        events=int(event.sum()),
        event_rate=float(event.mean()),
        events_per_year=float(event.sum() / years) if years else float("nan"),
        median_follow_up=median_follow_up(time, event),
        rmst=restricted_mean(time, event, HORIZON),
        rmst_standard_error=float(pseudo.std(ddof=1) / np.sqrt(len(pseudo))) if len(pseudo) > 1 else float("nan"),
        followed_to_horizon=int((time >= HORIZON).sum()),
        **shares,
    )


def sampling_facts(cohort: Cohort) -> SamplingFacts:
    """SamplingFacts of `cohort`, read from its patients' and slides' names."""
    patients = [BARCODE.match(patient) for patient in cohort.labels.index]
    slides = [BARCODE.match(slide) for slide in cohort.slides["slide"]]
    sites = [match["site"].upper() for match in patients if match]
    kinds = [match["kind"] for match in slides if match and match["kind"]]
    return SamplingFacts(
        site_purity=_purity(sites) if len(sites) == len(patients) else float("nan"),
        project_purity=_purity(list(cohort.labels["project"])),
        primary_share=kinds.count("01") / len(kinds) if kinds and len(kinds) == len(slides) else float("nan"),
    )


def feature_facts(sample: FeatureSample) -> FeatureFacts:
    """FeatureFacts of a cohort, from a sample of it."""
    return FeatureFacts(
        dispersion_patches=float(sample.patches.var(axis=0, ddof=1, dtype=np.float64).sum()),
        dispersion_patients=float(sample.means.var(axis=0, ddof=1, dtype=np.float64).sum()),
        participation_ratio=participation_ratio(sample.patches),
        two_nn_dimension=two_nn_dimension(sample.patches),
    )


def participation_ratio(points: np.ndarray) -> float:
    """(tr C)^2 / tr C^2 of points (n, D): how many directions share the variance.

    tr C^2 is estimated without the bias of its plug-in, which at n below D makes any cohort look narrower (Bai and
    Saranadasa 1996).
    """
    centred = points - points.mean(axis=0, dtype=np.float64)
    n, width = centred.shape
    # The smaller of the two products has the same trace of squares.
    product = centred @ centred.T if n < width else centred.T @ centred
    trace, squares = np.trace(product) / (n - 1), np.square(product).sum() / (n - 1) ** 2
    unbiased = (n - 1) ** 2 / ((n - 2) * (n + 1)) * (squares - trace**2 / (n - 1))
    return float(trace**2 / unbiased)


def two_nn_dimension(points: np.ndarray) -> float:
    """Intrinsic dimension of points (n, D) by their two nearest neighbours' distances (Facco et al. 2017)."""
    distance, _ = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(points)
    distance = distance[distance[:, 1] > 0]
    if len(distance) < 10:
        return float("nan")
    ratios = np.sort(np.log(distance[:, 2] / distance[:, 1]))
    kept = ratios[: int(len(ratios) * (1 - DISCARDED))]
    # Least squares through the origin of -log(1 - F) on log(ratio), over the ratios that are kept.
    expected = -np.log1p(-np.arange(1, len(kept) + 1) / len(ratios))
    return float((kept @ expected) / (kept @ kept)) if kept @ kept > 0 else float("nan")


def _purity(names: Sequence[str]) -> float:
    """Chance that two different members carry the same name."""
    _, counts = np.unique(names, return_counts=True)
    total = counts.sum()
    return float((counts * (counts - 1)).sum() / (total * (total - 1))) if total > 1 else float("nan")
