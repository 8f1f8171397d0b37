"""The two tables of facts, one row a cohort and one row a pair, from a study and the results of a sweep on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cropkt.data.study import Cohort, Study
from cropkt.errors import ConfigError
from cropkt.factors.cohort_facts import feature_facts, sampling_facts, survival_facts
from cropkt.factors.distances import moment_distances, shared_axes, two_sample_accuracy
from cropkt.factors.mmd import maximum_mean_discrepancy, median_distance
from cropkt.factors.restricted_mean import HORIZON, HORIZONS, pseudo_observations
from cropkt.factors.sample import FeatureSample, sample_cohort
from cropkt.factors.similarity import attend, attention_overlap, few_bags, kernel_alignment, weight_cosines
from cropkt.factors.transferability import log_evidence
from cropkt.models.checkpoint import load_model
from cropkt.models.mil import MILModel
from cropkt.transfer.results import ResultsFolder, read_record, read_representations
from cropkt.transfer.significance import collect_predictions

NEEDED = ("source", "target", "encoder", "architecture", "mode", "c_index_pooled", "c_index_mean", "standard_error")

FEWEST_COHORTS = 6
PREDICTED = ("patient_id", "time", "event", "source_fold", "target_fold", "risk")


@dataclass(frozen=True)
class FactConfig:
    """How much is looked at: patches and components of the distances, patients and patches of the attention overlap,
    and the most patients a CKA or LogME takes."""

    seed: int = 0
    patches: int = 512
    components: int = 32
    attention_patients: int = 12
    attention_patches: int = 96
    most_patients: int = 300


def read_pairs(folder: ResultsFolder) -> pd.DataFrame:
    """The sweep's pairs between and within cohorts of this encoder and architecture. Raises ConfigError without any."""
    path = folder.out / "pairs.parquet"
    if not path.is_file():
        raise ConfigError(
            f"--out {folder.out}: no pairs.parquet here; run scripts/sweep_transfer.py with this --out first"
        )
    table = pd.read_parquet(path)
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}; run scripts/sweep_transfer.py again")
    ours = table[(table["encoder"] == folder.encoder) & (table["architecture"] == folder.architecture)]
    ours = ours[ours["mode"].isin(["self", "transfer"])].reset_index(drop=True)
    if not (ours["mode"] == "transfer").any():
        raise ConfigError(f"{path}: no pair of encoder {folder.encoder} and architecture {folder.architecture}")
    return ours


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
        facts: dict[str, Any] = {
            "cohort": code,
            "organ": cohort.info.organ,
            "group": cohort.info.group,
            "size": cohort.info.size,
        }
        facts |= survival_facts(cohort) | sampling_facts(cohort) | feature_facts(sample)
        facts["c_index_self"] = own["c_index_pooled"].get(code)
        facts["c_index_self_standard_error"] = own["standard_error"].get(code)
        rows.append(facts | {"log_patients": float(np.log(facts["patients"]))})
    numbers = ["c_index_self", "c_index_self_standard_error"]
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(numbers, float))


def pair_table(
    study: Study,
    folder: ResultsFolder,
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
    columns |= _model_columns(study, folder, codes, config, say)
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
    median = median_distance(np.concatenate(points), config.seed)
    mmd = maximum_mean_discrepancy(points, owner, median)
    columns = {f"mmd_{kind}": mmd.value[1], f"mmd_{kind}_standard_error": mmd.standard_error[1]}
    columns |= {f"mmd_{kind}_half_bandwidth": mmd.value[0], f"mmd_{kind}_double_bandwidth": mmd.value[2]}
    axes = shared_axes(points, config.components)
    projected = [axes.project(of) for of in points]
    found = moment_distances(projected, owner, config.seed)
    found["accuracy"] = two_sample_accuracy(projected, owner, config.seed)
    for name, distance in found.items():
        columns |= {f"{name}_{kind}": distance.value, f"{name}_{kind}_standard_error": distance.standard_error}
    return columns


def _model_columns(
    study: Study, folder: ResultsFolder, codes: Sequence[str], config: FactConfig, say: Callable[[str], None]
) -> dict[str, np.ndarray]:
    folds = range(len(next(iter(study.cohorts.values())).folds))
    cosine, overlap = (np.full((len(folds), len(codes), len(codes)), np.nan) for _ in range(2))
    say("weights and attention")
    bags = {
        code: few_bags(study.cohorts[code], config.attention_patients, config.attention_patches, config.seed)
        for code in codes
    }
    for fold in folds:
        models = load_fold(folder, codes, fold)
        if len(models) < 2:
            continue
        where = np.array([codes.index(code) for code in models])
        block = np.ix_(np.array([fold]), where, where)
        null = folder.models / "null.safetensors"
        if null.is_file():
            cosine[block] = weight_cosines(list(models.values()), load_model(null))
        for target in models:
            features, offsets, _ = bags[target]
            attention = attend(list(models.values()), features, offsets)
            column = attention_overlap(attention, offsets.numpy())[:, list(models).index(target)]
            overlap[fold, where, codes.index(target)] = column
    say("bag vectors")
    alignment, evidence = _vector_columns(study, folder, codes, config)
    return {
        "weight_cosine": _mean_over_folds(cosine),
        "attention_overlap": _mean_over_folds(overlap),
        "cka": alignment,
        "logme": evidence,
    }


def load_fold(folder: ResultsFolder, codes: Sequence[str], fold: int) -> dict[str, MILModel]:
    """The models of one fold that are there, by source."""
    paths = {code: folder.models / code / f"fold_{fold}.safetensors" for code in codes}
    return {code: load_model(path) for code, path in paths.items() if path.is_file()}


def _vector_columns(
    study: Study, folder: ResultsFolder, codes: Sequence[str], config: FactConfig
) -> tuple[np.ndarray, np.ndarray]:
    """CKA with the target's own model, and LogME, (C, C) each, from the stored bag vectors."""
    alignment, evidence = (np.full((len(codes), len(codes)), np.nan) for _ in range(2))
    for t, target in enumerate(codes):
        own = _vectors(folder, target, target)
        for s, source in enumerate(codes):
            found = _vectors(folder, source, target) if s != t else None
            if found is None:
                continue
            vectors, patients = found
            evidence[s, t] = _evidence(vectors, patients, study.cohorts[target])
            if own is not None and own[1] == patients and own[0].keys() == vectors.keys():
                step = max(1, len(patients) // config.most_patients)
                by_fold = [kernel_alignment(vectors[fold][::step], own[0][fold][::step]) for fold in vectors]
                alignment[s, t] = np.nanmean(by_fold)
    return alignment, evidence


def _vectors(folder: ResultsFolder, source: str, target: str) -> tuple[dict[int, np.ndarray], list[str]] | None:
    """Bag vectors (B, V) by source fold, and the B patients; None where the pair has not been measured."""
    record = read_record(folder, source, target)
    if record is None or not folder.representations_path(source, target).is_file():
        return None
    vectors, patients = read_representations(folder, source, target)
    folds = sorted({row["source_fold"] for row in record["folds"]})
    return dict(zip(folds, vectors.numpy(), strict=True)), patients


def _evidence(vectors: Mapping[int, np.ndarray], patients: Sequence[str], cohort: Cohort) -> float:
    """Mean over folds of LogME: source model f, training patients of the target's fold f, never its test ones."""
    where = {patient: row for row, patient in enumerate(patients)}
    values = []
    for fold, of_model in vectors.items():
        train = [patient for patient in cohort.folds[fold].train if patient in where]
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


def error_covariances(folder: ResultsFolder, pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
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
        paths = {source: folder.predictions_path(source, str(target)) for source in known.index}
        paths = {source: path for source, path in paths.items() if path.is_file()}
        if len(paths) > 1:
            tables = {source: pd.read_parquet(path, columns=list(PREDICTED)) for source, path in paths.items()}
            predictions = collect_predictions(str(target), tables)
            influence = np.array([predictions.scores(source).pooled.influence for source in tables])
            covariance.loc[list(tables), list(tables)] = influence @ influence.T
        covariances[str(target)] = covariance
    return covariances


def matrix_of(pairs: pd.DataFrame, column: str, codes: Sequence[str]) -> np.ndarray:
    """(C, C) of a column of the pair table, NaN on the diagonal and where unknown."""
    wide = pairs.pivot(index="source", columns="target", values=column).reindex(index=list(codes), columns=list(codes))
    return wide.to_numpy(dtype=float)
