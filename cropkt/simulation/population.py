"""The model behind the simulated study: tissue prototypes, cohort weightings, survival (docs/simulation.md).

A cohort's patients differ in how much of each tissue prototype their slides show, and in three traits that only a few
patches show; the cohort's weighting of the fractions, or of the traits, is the log-risk. Cohorts of a group have
similar weightings and similar features.
"""

from dataclasses import dataclass, replace

import numpy as np

from cropkt.cohorts import COHORTS, CohortInfo
from cropkt.seeds import generator
from cropkt.simulation.config import PROTOTYPES, SIZES, TRAITS, SimulationConfig, Size

GROUPS = {
    "squamous": ("blca", "cesc", "hnsc", "lung"),
    "gastrointestinal": ("coadread", "stes", "paad", "chol"),
    "gynaecological": ("ucec", "ucs", "ov", "cesc"),
    "hepatobiliary": ("lihc", "chol"),
    "melanocytic": ("skcm", "uvm"),
    "endocrine": ("acc", "pcpg", "thca"),
    "immune": ("dlbc", "thym"),
}
"""Cohorts not named here are on their own. A cohort of two groups lies between them."""

REVERSED = "sarc"
"""Its weighting has the opposite sign of what all others share."""

RARE = 0.03
"""Share of patches of the rare prototype; every patient has at least one."""
TRAIT_SIZE = 5.0
"""How far one standard deviation of a trait moves a patch that shows it, in standard deviations of a patch's noise."""
ORDINARY = 2.0
"""No patch but the most extreme one lies further out than this on an axis, and that one lies further."""


@dataclass(frozen=True)
class Patients:
    """N drawn patients.

    fractions: (N, K + 1) of the shared prototypes and the organ's own. traits: (N, TRAITS), each of mean 0 and
    variance 1; None where the fractions decide the risk. log_risk: (N,).
    """

    fractions: np.ndarray
    traits: np.ndarray | None
    log_risk: np.ndarray


@dataclass(frozen=True)
class TraitLook:
    """How traits show: axes (TRAITS, D) of length 1, along which they move patches; rare (D,) is the rare prototype."""

    axes: np.ndarray
    rare: np.ndarray


@dataclass(frozen=True)
class CohortModel:
    """The population of a cohort.

    place: (2,) where the cohort lies; cohorts that lie close have similar features and weightings. weights: (K + 1,)
    log-risk of a unit of each fraction, or (TRAITS,) of each trait; shift: (D,) added to every patch; prototypes:
    (K + 1, D), before the shift. look: how traits show, None where the fractions decide. alpha: (K + 1,) of the
    Dirichlet distribution of fractions. scale: days, of the baseline Weibull survival.
    """

    info: CohortInfo
    place: np.ndarray
    weights: np.ndarray
    alpha: np.ndarray
    prototypes: np.ndarray
    look: TraitLook | None
    shift: np.ndarray
    scale: float
    effect: float
    transfer: str
    signal: str

    def draw(self, n_patients: int, random: np.random.Generator) -> Patients:
        """Draw patients of the cohort's population."""
        fractions = random.dirichlet(self.alpha, n_patients)
        traits = None if self.signal == "fractions" else _traits(self.signal, n_patients, random)
        if self.transfer == "none":
            return Patients(fractions, traits, self.effect * random.standard_normal(n_patients))
        drawn = Patients(fractions, traits, np.zeros(n_patients))
        return replace(drawn, log_risk=self.score(drawn))

    def score(self, patients: Patients) -> np.ndarray:
        """(N,) this cohort's weighting of its own patients, centred at its mean patient."""
        if patients.traits is not None:
            return patients.traits @ self.weights
        return (patients.fractions - self.alpha / self.alpha.sum()) @ self.weights

    def score_others(self, patients: Patients) -> np.ndarray:
        """(N,) this cohort's weighting of another one's patients; their organ tissue is unknown here and counts 0."""
        if patients.traits is not None:
            return patients.traits @ self.weights
        return patients.fractions[:, :-1] @ self.weights[:-1]


def _traits(signal: str, n_patients: int, random: np.random.Generator) -> np.ndarray:
    """(N, TRAITS) of mean 0 and variance 1. The most extreme patch lies on one side, so its traits are skewed."""
    if signal == "max":
        return random.exponential(size=(n_patients, TRAITS)) - 1
    return random.standard_normal((n_patients, TRAITS))


def show_traits(
    signal: str, traits: np.ndarray, look: TraitLook, tissue: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """`tissue` (N, D) of a patient, on whose patches the `traits` (TRAITS,) show as `signal` says."""
    patches = len(tissue)
    if signal == "few":
        rare = random.permutation(patches)[: max(1, random.binomial(patches, RARE))]
        shown = tissue.copy()
        shown[rare] = look.rare + TRAIT_SIZE * traits @ look.axes
        return shown
    place = np.clip(random.standard_normal((patches, TRAITS)), -ORDINARY, ORDINARY)
    # An exponential trait is at least -1, so the extreme patch lies at ORDINARY or beyond.
    place[random.integers(patches, size=TRAITS), np.arange(TRAITS)] = ORDINARY + 1 + traits
    return tissue + TRAIT_SIZE * place @ look.axes


CENTRE = 20.0
"""How far from 0 the features of all tissue lie, as those of foundation models do. Without it, a model could lower its
hazards to the share of events only through what tells prototypes apart, and would rank patients by that."""
SHAPE = 1.3
"""Of the Weibull survival times: hazards rise slowly."""
LONGEST_FOLLOW_UP = 11 * 365
ZERO_DAYS = 0.015
"""Share of patients lost on the day of diagnosis, as in TCGA."""


def event_times(log_risk: np.ndarray, scale: float, random: np.random.Generator) -> np.ndarray:
    """Days to the event, by the proportional hazards model with a Weibull baseline (Bender et al. 2005)."""
    return scale * (random.exponential(size=len(log_risk)) * np.exp(-log_risk)) ** (1 / SHAPE)


def censoring_times(size: Size, n_patients: int, random: np.random.Generator) -> np.ndarray:
    """Days of follow-up, independent of everything else."""
    times = np.minimum(size.follow_up * random.lognormal(0, 0.6, n_patients), LONGEST_FOLLOW_UP)
    return np.where(random.random(n_patients) < ZERO_DAYS, 0.0, times)


def build_cohorts(config: SimulationConfig) -> dict[str, CohortModel]:
    """The populations of the study's cohorts, by code. A cohort does not depend on which others are chosen."""
    kinds = len(PROTOTYPES)
    world = generator(config.seed, "simulation", "world")
    # An orthonormal basis of feature space: prototypes stand apart, places move all patches of a cohort elsewhere.
    basis = np.linalg.qr(world.standard_normal((config.dim, config.dim)))[0].T
    contrasts = _contrasts(kinds, world)
    places = _places(config, world)
    return {code: _cohort(config, code, places[code], contrasts, basis) for code in config.cohorts}


def _contrasts(kinds: int, world: np.random.Generator) -> np.ndarray:
    """(K - 1, K) orthonormal weightings of fractions that sum to 0, as fractions sum to 1: the first one is common."""
    centred = world.standard_normal((kinds, kinds))
    centred[0] = 1
    return np.linalg.qr(centred.T)[0].T[1:]


def _places(config: SimulationConfig, world: np.random.Generator) -> dict[str, np.ndarray]:
    """(2,) of unit length for each cohort of the registry: its groups' direction and a part of its own.

    Groups lie evenly spaced around a circle, in random order, so that every seed has near and far ones.
    """
    turns = (world.permutation(len(GROUPS)) + world.random()) / len(GROUPS)
    groups = {name: _direction(turn) for name, turn in zip(GROUPS, turns, strict=True)}
    places = {}
    for code in COHORTS:
        of_groups = [groups[name] for name, members in GROUPS.items() if code in members]
        own, alone = _direction(world.random()), _direction(world.random())
        group = _unit(np.sum(of_groups, axis=0)) if of_groups else alone
        places[code] = _unit(np.sqrt(1 - config.own) * group + np.sqrt(config.own) * own)
    return places


def _direction(turn: float) -> np.ndarray:
    return np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])


def _cohort(
    config: SimulationConfig, code: str, place: np.ndarray, contrasts: np.ndarray, basis: np.ndarray
) -> CohortModel:
    random = generator(config.seed, "simulation", "cohort", code)
    kinds = len(PROTOTYPES)
    sign = -1 if code == REVERSED else 1
    common, specific = (0.9, 0.1) if code == REVERSED else (config.common, 1 - config.common)
    shared = np.sqrt(common) * sign * contrasts[0] + np.sqrt(specific) * place @ contrasts[1:]
    weights = np.append(shared, 0.25 * random.choice([-1, 1]))
    alpha = config.concentration * _shares(random, kinds)
    weights *= config.effect / _deviation(weights, alpha)
    look = None
    if config.signal != "fractions":
        # The same coordinates weigh the traits: what all cohorts share, and the place. Their length is 1.
        weights = config.effect * np.array([np.sqrt(common) * sign, *np.sqrt(specific) * place])
        *axes, rare = basis[kinds + len(place) :][: TRAITS + 1]
        look = TraitLook(np.array(axes), config.separation * rare + CENTRE * basis[-1])
    organ = _unit(random.standard_normal(config.dim))
    corners = basis[:kinds] - basis[:kinds].mean(axis=0)
    prototypes = config.separation * np.vstack([corners, organ]) + CENTRE * basis[-1]
    shift = 0.5 * config.separation * place @ basis[kinds : kinds + len(place)]
    world = (config.effect, config.transfer, config.signal)
    return _with_events(CohortModel(COHORTS[code], place, weights, alpha, prototypes, look, shift, 1.0, *world), random)


def _shares(random: np.random.Generator, kinds: int) -> np.ndarray:
    """(K + 1,) mean fractions, even but for what makes cohorts differ; the organ's own tissue is the smallest."""
    shares = np.append(np.ones(kinds), 0.7) * random.lognormal(0, 0.2, kinds + 1)
    return shares / shares.sum()


def _deviation(weights: np.ndarray, alpha: np.ndarray) -> float:
    """Standard deviation of the weighting of Dirichlet fractions."""
    mean = alpha / alpha.sum()
    return float(np.sqrt((mean @ weights**2 - (mean @ weights) ** 2) / (alpha.sum() + 1)))


def _with_events(model: CohortModel, random: np.random.Generator) -> CohortModel:
    """`model` with the scale at which its population has the share of events that its size asks for."""
    size = SIZES[model.info.code]
    drawn = model.draw(8000, random)
    unit_times = event_times(drawn.log_risk, 1.0, random)
    censored = censoring_times(size, 8000, random)
    # An event is seen when scale x unit time <= censoring time, so the scale is a quantile of their ratio.
    scale = float(np.quantile(censored / unit_times, 1 - size.events))
    return replace(model, scale=scale)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
