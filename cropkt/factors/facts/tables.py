"""The two tables of facts, one row a cohort and one row a pair, from a study and the results of a sweep on it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cropkt.data.study import Cohort, Study
from cropkt.errors import ConfigError
from cropkt.factors.config import FactConfig
from cropkt.factors.facts.cohort import feature_facts, sampling_facts, survival_facts
from cropkt.factors.facts.distances import DISTANCES
from cropkt.factors.facts.logme import log_evidence
from cropkt.factors.facts.models import attend, attention_overlap, few_bags, kernel_alignment, weight_cosines
from cropkt.factors.facts.points import CohortPoints
from cropkt.factors.facts.sample import FeatureSample, sample_cohort
from cropkt.models.checkpoint import load_model, why_no_model
from cropkt.models.mil import MILModel
from cropkt.survival.restricted_mean import HORIZON, HORIZONS, pseudo_observations
from cropkt.transfer.rows import PAIRS
from cropkt.transfer.store import Representations, ResultsFolder

FEWEST_COHORTS = 6


def read_pairs(results: ResultsFolder) -> pd.DataFrame:
    """The sweep's pairs between and within cohorts of this encoder and architecture. Raises ConfigError without any."""
    path = results.out / PAIRS.path
    if not path.is_file():
        raise ConfigError(
            f"--out {results.out}: no {PAIRS.path} here; run scripts/sweep_transfer.py with this --out first"
        )
    pairs = results.pairs()
    if not (pairs["mode"] == "transfer").any():
        raise ConfigError(f"{path}: no pair of encoder {results.encoder} and architecture {results.architecture}")
    return pairs


def cohorts_of(study: Study, pairs: pd.DataFrame) -> list[str]:
    """Codes in the study's order that are source or target of a pair.

    Raises ConfigError for codes the study does not have, and for fewer than FEWEST_COHORTS.
    """
    named = set(pairs["source"]) | set(pairs["target"])
    unknown = sorted(named - set(study.cohorts))
    if unknown:
        raise ConfigError(
            f"the results have cohorts that study {study.name} has not: {', '.join(unknown)}; "
            "give the study they came from"
        )
    if len(named) < FEWEST_COHORTS:
        raise ConfigError(
            f"the results have {len(named)} cohorts ({', '.join(sorted(named))}); factors need {FEWEST_COHORTS} or "
            "more, as fewer labels have too few orders for a test to say anything"
        )
    return [code for code in study.cohorts if code in named]


def sample_study(study: Study, codes: Sequence[str], config: FactConfig) -> dict[str, FeatureSample]:
    """A feature sample of each cohort, one read after the other."""
    return {code: sample_cohort(study.cohorts[code], config.patches, config.seed) for code in codes}


def cohort_table(study: Study, samples: Mapping[str, FeatureSample], pairs: pd.DataFrame) -> pd.DataFrame:
    """factors_cohort.parquet: a row a cohort."""
    own = pairs.loc[pairs["mode"] == "self", ["source", "c_index_pooled", "standard_error"]].set_index("source")
    rows = []
    for code, sample in samples.items():
        cohort = study.cohorts[code]
        survival = survival_facts(cohort)
        rows.append(
            {
                "cohort": code,
                "organ": cohort.info.organ,
                "group": cohort.info.group,
                "size": cohort.info.size,
                **vars(survival),
                **vars(sampling_facts(cohort)),
                **vars(feature_facts(sample)),
                "c_index_self": own["c_index_pooled"].get(code),
                "c_index_self_standard_error": own["standard_error"].get(code),
                "log_patients": float(np.log(survival.patients)),
            }
        )
    numbers = ["c_index_self", "c_index_self_standard_error"]
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(numbers, float))


def pair_table(
    study: Study,
    results: ResultsFolder,
    samples: Mapping[str, FeatureSample],
    cohorts: pd.DataFrame,
    pairs: pd.DataFrame,
    config: FactConfig,
    *,
    report: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """factors_pair.parquet: a row for every ordered pair of different cohorts, with its C-index where it was measured.

    Model factors are NaN where models or bag vectors are not in the results folder. `report(step)` is called at the
    start of each step.
    """
    say = report or _quiet
    codes = list(samples)
    columns: dict[str, np.ndarray] = _same(cohorts) | _differences(cohorts)
    say("distances between patches")
    columns |= _distance_columns(
        [sample.patches for sample in samples.values()], [s.owner for s in samples.values()], "patches", config
    )
    say("distances between patients")
    means = [sample.means for sample in samples.values()]
    columns |= _distance_columns(means, [np.arange(len(of)) for of in means], "patients", config)
    columns |= _model_columns(study, results, codes, pairs, config, say)
    source, target = np.nonzero(~np.eye(len(codes), dtype=bool))
    table = pd.DataFrame({"source": np.array(codes)[source], "target": np.array(codes)[target]})
    table = table.assign(**{name: matrix[source, target] for name, matrix in columns.items()})
    measured = pairs[["source", "target", "c_index_pooled", "c_index_mean", "standard_error", "n_patients", "n_events"]]
    return table.merge(measured, on=["source", "target"], how="left")


def _same(cohorts: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        f"same_{name}": (cohorts[name].to_numpy()[:, None] == cohorts[name].to_numpy()).astype(float)
        for name in ("organ", "group")
    }


def _differences(cohorts: pd.DataFrame) -> dict[str, np.ndarray]:
    """Source less target, signed (`_difference`) and absolute (`_gap`)."""
    values = {"rmst": cohorts["rmst"], "event_rate": cohorts["event_rate"], "size": cohorts["log_patients"]}
    values |= {f"rmst_{name}": cohorts[f"rmst_{name}"] for name in HORIZONS}
    columns = {}
    for name, of in values.items():
        number = of.to_numpy(dtype=float)
        columns[f"{name}_difference"] = number[:, None] - number
        columns[f"{name}_gap"] = np.abs(number[:, None] - number)
    return columns


def _distance_columns(
    points: Sequence[np.ndarray], owner: Sequence[np.ndarray], kind: str, config: FactConfig
) -> dict[str, np.ndarray]:
    cohorts = CohortPoints(tuple(points), tuple(owner), config.seed, config.components)
    columns: dict[str, np.ndarray] = {}
    for distance in DISTANCES.records():
        found = distance.measure(cohorts)
        name = f"{distance.name}_{kind}"
        columns |= {name: found.value, f"{name}_standard_error": found.standard_error}
        columns |= {f"{name}_{variant}": value for variant, value in found.variants.items()}
    return columns


def _model_columns(
    study: Study,
    results: ResultsFolder,
    codes: Sequence[str],
    pairs: pd.DataFrame,
    config: FactConfig,
    say: Callable[[str], None],
) -> dict[str, np.ndarray]:
    folds = range(len(next(iter(study.cohorts.values())).folds))
    cosine, overlap = (np.full((len(folds), len(codes), len(codes)), np.nan) for _ in range(2))
    say("weights and attention")
    bags = {
        code: few_bags(study.cohorts[code], config.attention_patients, config.attention_patches, config.seed)
        for code in codes
    }
    for fold in folds:
        models = load_fold(results, codes, fold)
        if len(models) < 2:
            continue
        where = np.array([codes.index(code) for code in models])
        block = np.ix_(np.array([fold]), where, where)
        if not why_no_model(results.models.null):
            cosine[block] = weight_cosines(list(models.values()), load_model(results.models.null))
        for target in models:
            features, offsets, _ = bags[target]
            attention = attend(list(models.values()), features, offsets)
            column = attention_overlap(attention, offsets.numpy())[:, list(models).index(target)]
            overlap[fold, where, codes.index(target)] = column
    say("bag vectors")
    alignment, evidence = _vector_columns(study, results, codes, pairs, config)
    return {
        "weight_cosine": _mean_over_folds(cosine),
        "attention_overlap": _mean_over_folds(overlap),
        "cka": alignment,
        "logme": evidence,
    }


def load_fold(results: ResultsFolder, codes: Sequence[str], fold: int) -> dict[str, MILModel]:
    """The whole models of one fold, by source."""
    paths = {code: results.models.weights(code, fold) for code in codes}
    return {code: load_model(path) for code, path in paths.items() if not why_no_model(path)}


def _vector_columns(
    study: Study, results: ResultsFolder, codes: Sequence[str], pairs: pd.DataFrame, config: FactConfig
) -> tuple[np.ndarray, np.ndarray]:
    """CKA with the target's own model, and LogME, (C, C) each, from the stored bag vectors of measured `pairs`."""
    alignment, evidence = (np.full((len(codes), len(codes)), np.nan) for _ in range(2))
    known = set(zip(pairs["source"], pairs["target"], strict=True))

    def vectors(source: str, target: str) -> Representations | None:
        return results.representations(source, target) if (source, target) in known else None

    for t, target in enumerate(codes):
        own = vectors(target, target)
        for s, source in enumerate(codes):
            found = vectors(source, target) if s != t else None
            if found is None:
                continue
            evidence[s, t] = _evidence(found, study.cohorts[target])
            if own is not None and own.patients == found.patients and own.source_folds == found.source_folds:
                step = max(1, len(found.patients) // config.most_patients)
                folds = zip(found.vectors.numpy()[:, ::step], own.vectors.numpy()[:, ::step], strict=True)
                alignment[s, t] = np.nanmean([kernel_alignment(one, other) for one, other in folds])
    return alignment, evidence


def _evidence(found: Representations, cohort: Cohort) -> float:
    """Mean over folds of LogME: source model f, training patients of the target's fold f, never its test ones."""
    where = {patient: row for row, patient in enumerate(found.patients)}
    values = []
    for number, of_model in zip(found.source_folds, found.vectors.numpy(), strict=True):
        train = [patient for patient in cohort.folds[number].train if patient in where]
        labels = cohort.labels.loc[train]
        outcome = pseudo_observations(labels["time"].to_numpy(), labels["event"].to_numpy(), HORIZON)
        values.append(log_evidence(of_model[[where[patient] for patient in train]], outcome))
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _quiet(step: str) -> None:
    """Nobody listens."""


def _mean_over_folds(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def error_covariances(results: ResultsFolder, pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By target: the covariance (sources x sources) of the errors of its pooled C-indices.

    From each patient's influence on each source's C-index (cropkt.survival.concordance). A target whose predictions are
    not there gets its standard errors squared, as if its cells erred independently; a cell without one, the largest.
    """
    covariances = {}
    for target, group in pairs[pairs["mode"] == "transfer"].groupby("target"):
        errors = group.set_index("source")["standard_error"].astype(float)
        known = errors[np.isfinite(errors) & (errors > 0)]
        filled = errors.where(errors.index.isin(known.index), known.max() if len(known) else 0.0)
        covariance = pd.DataFrame(np.diag(filled.to_numpy() ** 2), index=errors.index, columns=errors.index)
        predictions = results.predictions(str(target), list(known.index))
        if predictions is not None and len(predictions.risk) > 1:
            sources = list(predictions.risk)
            # The table's C-index of a pair between cohorts counts all comparable pairs, not those within folds alone.
            scores = [predictions.score(predictions.risk[source], within_folds=False) for source in sources]
            influence = np.array([found.pooled.influence for found in scores])
            covariance.loc[sources, sources] = influence @ influence.T
        covariances[str(target)] = covariance
    return covariances


def matrix_of(pairs: pd.DataFrame, column: str, codes: Sequence[str]) -> np.ndarray:
    """(C, C) of a column of the pair table, NaN on the diagonal and where unknown."""
    wide = pairs.pivot(index="source", columns="target", values=column).reindex(index=list(codes), columns=list(codes))
    return wide.to_numpy(dtype=float)
