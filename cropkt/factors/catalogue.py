"""The factors that are tested: what each is, whether it is a pair's or a cohort's, and what must be known for it."""

from dataclasses import dataclass

from cropkt.factors.facts.distances import DISTANCES


@dataclass(frozen=True)
class Factor:
    """A column of factors_pair.parquet (level "pair") or factors_cohort.parquet (level "cohort").

    needs: what a cohort must have for it. "features": slides alone. "labels": also outcomes. "model": also a model of
    its own, or of the source. circular: whether, for a target, it uses outcomes of the very patients the C-index is
    measured on, directly or through the target's own models: its relation to the C-index flatters it even where nothing
    transfers, so it is shown and in no family of q-values.
    """

    name: str
    label: str
    level: str
    needs: str
    circular: bool = False


def _distances(kind: str, what: str) -> tuple[Factor, ...]:
    labels = DISTANCES.labels().items()
    return tuple(Factor(f"{name}_{kind}", f"{label}, {what}", "pair", "features") for name, label in labels)


PAIR_FACTORS: tuple[Factor, ...] = (
    Factor("same_organ", "same organ", "pair", "features"),
    Factor("same_group", "same histology group", "pair", "features"),
    *_distances("patches", "patches"),
    *_distances("patients", "patients' means"),
    Factor("rmst_gap", "difference in restricted mean survival, absolute", "pair", "labels"),
    Factor("event_rate_gap", "difference in event rate, absolute", "pair", "labels"),
    Factor("size_gap", "difference in log patients, absolute", "pair", "features"),
    Factor("weight_cosine", "cosine of the models' weight changes", "pair", "model", circular=True),
    Factor("cka", "CKA of the models' bag vectors on the target", "pair", "model", circular=True),
    Factor("attention_overlap", "attention shared on the target's patches", "pair", "model", circular=True),
    Factor("logme", "LogME on the target's training patients", "pair", "labels", circular=True),
)

COHORT_FACTORS: tuple[Factor, ...] = (
    Factor("log_patients", "log patients", "cohort", "features"),
    Factor("event_rate", "event rate", "cohort", "labels"),
    Factor("events_per_year", "events per patient-year", "cohort", "labels"),
    Factor("rmst", "restricted mean survival, 3 years", "cohort", "labels"),
    Factor("median_follow_up", "median follow-up", "cohort", "labels"),
    Factor("dispersion_patches", "dispersion of patches", "cohort", "features"),
    Factor("dispersion_patients", "dispersion of patients' means", "cohort", "features"),
    Factor("participation_ratio", "participation ratio of patches", "cohort", "features"),
    Factor("two_nn_dimension", "two-neighbour dimension of patches", "cohort", "features"),
    Factor("site_purity", "tissue-site purity", "cohort", "features"),
    Factor("primary_share", "share of primary tumours", "cohort", "features"),
    Factor("c_index_self", "C-index of its own model", "cohort", "model", circular=True),
)

USES_TARGET_OUTCOMES = frozenset(
    {factor.name for factor in PAIR_FACTORS if factor.circular}
    | {f"target:{factor.name}" for factor in COHORT_FACTORS if factor.circular}
)
"""Circular factors, by the name they are tested under: they know which of the target's patients died, through the
target's own models, trained or tested on the very patients whose C-index is explained, or directly (LogME). The luck of
these patients is on both sides, so such a factor is found where there is nothing to find. Of a source the same fact is
of other patients. A cohort's event rate or survival are not among them: they do not know which slide goes with which
outcome.
"""

JOINT = ("same_group", "mmd_patches", "rmst_gap", "event_rate_gap", "size_gap")
"""Fitted together: chosen beforehand, one of each kind, as distances measure much the same."""
JOINT_WITH_MODELS = (*JOINT, "weight_cosine", "cka", "attention_overlap")
INTRA = ("log_patients", "event_rate", "rmst")
"""Published-style table within cohorts: own-model C-index on size, event rate and invasiveness."""
INTER = ("same_organ", "same_group", "mmd_patches", "size_difference", "event_rate_difference", "rmst_difference")
"""Published-style table between cohorts. Differences are source less target, signed."""


def label_of(name: str) -> str:
    """How a factor is called in tables and pictures; `source:` or `target:` before the name of a cohort's."""
    side, _, bare = name.rpartition(":")
    labels = {factor.name: factor.label for factor in (*PAIR_FACTORS, *COHORT_FACTORS)}
    labels |= {
        "size_difference": "log patients, source less target",
        "event_rate_difference": "event rate, source less target",
        "rmst_difference": "restricted mean survival, source less target",
        "irrelevant_pair": "irrelevant, drawn at random (pair)",
        "irrelevant_cohort": "irrelevant, drawn at random",
        "const": "constant",
    }
    return f"{side}: {labels.get(bare, bare)}" if side else labels.get(bare, bare)
