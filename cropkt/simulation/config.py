"""What can be simulated: the configuration, its names and the cohorts' sizes; quick to import, for `--help`."""

from dataclasses import dataclass

from cropkt.cohorts import COHORTS
from cropkt.errors import ConfigError

PROTOTYPES = ("tumour", "stroma", "lymphocytes", "necrosis")
"""Shared by all cohorts. Every cohort has one more of its own, the organ's normal tissue."""

TRANSFER = ("groups", "none")

SIGNALS = ("fractions", "few", "max")
"""Where the risk shows: in the fractions of tissue, which the mean patch holds; in the look of a rare prototype's few
patches; in the most extreme patch on each axis, whatever its tissue. The mean patch hides the last two."""
TRAITS = 3
"""Standardised traits of a patient, of which the weighting makes the log-risk where `signal` is "few" or "max"."""


@dataclass(frozen=True)
class Size:
    """Patients, share with an event, median follow-up in days, and share of patients with several slides."""

    patients: int
    events: float
    follow_up: float
    several_slides: float = 0.1


# Follow-up, slides a patient and event shares are near those of TCGA's disease-specific survival. Patients are scaled
# down; so that large cohorts keep about 20 events, and rare ones the handful they have, the smallest shares are
# raised.
SIZES = {
    "blca": Size(120, 0.31, 540),
    "brca": Size(120, 0.16, 820),
    "cesc": Size(110, 0.2, 640),
    "coadread": Size(120, 0.18, 640),
    "gbmlgg": Size(120, 0.53, 490, 0.4),
    "hnsc": Size(120, 0.27, 650),
    "kipan": Size(120, 0.2, 1070),
    "lihc": Size(110, 0.22, 600),
    "lung": Size(120, 0.23, 650),
    "sarc": Size(120, 0.36, 940, 0.4),
    "skcm": Size(120, 0.42, 1090),
    "stes": Size(120, 0.26, 410),
    "ucec": Size(120, 0.17, 910),
    "uvm": Size(52, 0.28, 780, 0.0),
    "chol": Size(40, 0.43, 680, 0.0),
    "acc": Size(50, 0.33, 1180, 0.6),
    "dlbc": Size(40, 0.12, 810),
    "meso": Size(50, 0.65, 480),
    "ov": Size(60, 0.56, 1000),
    "paad": Size(70, 0.44, 470),
    "pcpg": Size(70, 0.07, 760),
    "tgct": Size(60, 0.08, 1260, 0.3),
    "ucs": Size(46, 0.56, 600, 0.3),
    "thym": Size(56, 0.08, 1250, 0.3),
    "prad": Size(90, 0.06, 930),
    "thca": Size(90, 0.07, 940),
}


@dataclass(frozen=True)
class SimulationConfig:
    """What is simulated. The defaults are the demo study.

    cohorts: codes of the registry. patients: multiplies every cohort's size. patches: least and most a patient. dim:
    feature width. transfer: "groups", or "none" for survival that no slide tells anything about. signal: of SIGNALS.
    effect: standard deviation of a patient's log-risk. common, own: shares (of 1) of a weighting's variance that all
    cohorts have in common, and that a cohort has for itself within its group. separation: how far prototypes lie from
    the centre, in standard deviations of a patch's noise. concentration: sum of the Dirichlet parameters of fractions.
    """

    seed: int = 7
    transfer: str = "groups"
    signal: str = "fractions"
    cohorts: tuple[str, ...] = tuple(COHORTS)
    patients: float = 1.0
    patches: tuple[int, int] = (32, 160)
    dim: int = 128
    folds: int = 5
    effect: float = 1.5
    common: float = 0.25
    own: float = 0.2
    separation: float = 18.0
    concentration: float = 2.0

    def __post_init__(self) -> None:
        if self.transfer not in TRANSFER:
            raise ConfigError(f"transfer is {self.transfer!r}; choose {' or '.join(TRANSFER)}")
        if self.signal not in SIGNALS:
            raise ConfigError(f"signal is {self.signal!r}; choose among {', '.join(SIGNALS)}")
        unknown = [code for code in self.cohorts if code not in COHORTS]
        if unknown or not self.cohorts:
            raise ConfigError(f"cohorts names {', '.join(unknown) or 'none'}; choose among {', '.join(COHORTS)}")
        if not 0 < self.patients <= 1000:
            raise ConfigError(f"patients is {self.patients}; it multiplies the sizes and must be above 0, at most 1000")
        low, high = self.patches
        if not 1 <= low <= high:
            raise ConfigError(f"patches is {low} to {high}; give the least, 1 or more, and the most")
        least = 2 * len(PROTOTYPES) + (0 if self.signal == "fractions" else TRAITS)
        if self.dim < least:
            raise ConfigError(f"dim is {self.dim}; the prototypes need {least} or more")
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}; it must be 2 or more")

    def patients_of(self, code: str) -> int:
        """Patients of a cohort, enough to fill every fold."""
        return max(2 * self.folds, round(SIZES[code].patients * self.patients))
