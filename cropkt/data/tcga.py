"""Published patient-level feature sets of TCGA as a study: one bag a patient, on one scale for all cohorts.

What is done to the features, never looking at a label:

1. Rows of different kinds (tissue compartment, deconvolution method) are scaled apart, as their units differ, and get
   one 0/1 column a kind, as scaling would hide which kind a row is.
2. A skewed feature x (|skewness| > 1 over all cohorts) becomes sign(x) log(1 + |x| / m), where m is the median of |x|
   over its values that are not 0. Without m, fractions would stay as skewed as they were.
3. z-score: over all cohorts ("pooled"), or in each cohort ("cohort"). Pooled keeps differences between cohorts, as a
   foundation model's features have them; by cohort removes them, and with them batch effects and what distinguishes
   organs. Clipped at +-5.
4. Missing values become 0, the mean. There are no columns that say what was missing: it is whole methods, by method
   (which the kind says) or by batch and cohort (which a model should not learn from).

Which z-score hardly matters for a cohort's own prediction (ridge Cox on mean features, tme_deconvolution, 18 cohorts of
20 events or more, 3 x 5 folds: mean C-index .655 pooled, .658 by cohort; acc gains most, .78 and .82). Pooled is the
default, as it leaves the differences between cohorts in that transfer has to live with.

Means and deviations come from the features of all patients of the set, those to be tested as well (transductive, as
any scaling by cohort is). Labels play no part, but scores are for patients of these cohorts, not for a single new one.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml

from cropkt.cohorts import COHORTS
from cropkt.data.faults import Faults
from cropkt.data.patients.labels import read_labels
from cropkt.data.patients.site_folds import site_code
from cropkt.data.slide_files.features import write_h5
from cropkt.errors import StudyError
from cropkt.files import atomic_path

SKEWED = 1.0
CLIP = 5.0
STANDARDISE = ("pooled", "cohort")
CLINICAL = ("age", "gender", "stage")
LABEL_COLUMNS = {
    "patient": "patient_id",
    "slide": "pathology_id",
    "time": {"column": "t", "unit": "days"},
    "event": {"column": "e"},
    "project": "project",
}
"""`columns:` of study.yaml for the label tables that are written."""


@dataclass(frozen=True)
class FeatureSet:
    """R rows of D features; `rows` has columns cohort, patient_id, project, kind; `values` (R, D) is NaN if missing."""

    name: str
    rows: pd.DataFrame
    values: np.ndarray


def build_study(
    labels: Path,
    features: Path,
    out: Path,
    *,
    standardise: str = "pooled",
    clinical: Path | None = None,
    sites: Path | None = None,
) -> pd.DataFrame:
    """Write a study folder `out` from a folder of label tables and one of a feature set; counts by cohort.

    labels: holds {cohort}_survival.csv. features: holds {cohort}.h5 (one group a patient, `features` (rows, D)) or
    {cohort}.parquet (patient_id, project, numeric columns). A bag is filed as one pseudo-slide with the patient's id;
    positions are not known, so `coords` are 0. Patients without features are left out.
    clinical: a table with patient_id and some of CLINICAL, for the clinical baseline. sites: a table of tissue source
    sites (columns `TSS Code`, `Source Site`): folds then keep an institution's patients together.
    Returns columns cohort, patients, events, rows, left_out. Raises StudyError when a table is wrong, nothing matches,
    or `out` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise StudyError(f"{out} is not empty; give --out a new folder, so that no file of an older study stays in it")
    feature_set = read_feature_set(features)
    values = scaled(feature_set, standardise)
    counts = []
    for cohort in dict.fromkeys(feature_set.rows["cohort"]):
        counts.append(_write_cohort(cohort, feature_set, values, labels, out, _further_columns(clinical, sites)))
    columns: dict[str, object] = {} if clinical is None else {"clinical": list(_clinical(clinical))}
    columns |= {} if sites is None else {"site": "site"}
    settings = {
        "name": f"tcga-{feature_set.name}".replace("_", "-"),
        "folds": 5,
        "labels": "labels/{cohort}.csv",
        "splits": "splits/{cohort}/splits_{fold}.csv" if sites is None else "site",
        **({"columns": {**LABEL_COLUMNS, **columns}} if columns else {}),
        "encoders": {feature_set.name: {"dim": values.shape[1], "features": "features/TCGA-{project}/{slide}.h5"}},
    }
    with atomic_path(out / "study.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
    return pd.DataFrame(counts)


def read_feature_set(folder: Path) -> FeatureSet:
    """Every cohort of the registry that has a file in `folder`. Raises StudyError when none has, or widths differ."""
    rows: list[pd.DataFrame] = []
    values: list[np.ndarray] = []
    for cohort in COHORTS:
        h5, parquet = folder / f"{cohort}.h5", folder / f"{cohort}.parquet"
        if h5.exists():
            of_cohort = _read_h5(h5)
        elif parquet.exists():
            of_cohort = _read_parquet(parquet)
        else:
            continue
        if values and of_cohort[1].shape[1] != values[0].shape[1]:
            raise StudyError(
                f"{h5 if h5.exists() else parquet}: {of_cohort[1].shape[1]} features, other cohorts have "
                f"{values[0].shape[1]}; a set needs one feature space"
            )
        rows.append(of_cohort[0].assign(cohort=cohort))
        values.append(of_cohort[1])
    if not rows:
        raise StudyError(
            f"{folder}: holds no <cohort>.h5 or <cohort>.parquet; give --features one feature set's folder"
        )
    return FeatureSet(folder.name, pd.concat(rows, ignore_index=True), np.concatenate(values))


def scaled(feature_set: FeatureSet, standardise: str) -> np.ndarray:
    """(R, D + kinds) float32: features on one scale, then a 0/1 column a kind where there are several."""
    if standardise not in STANDARDISE:
        raise StudyError(f"--standardise is {standardise!r}; it must be one of {', '.join(STANDARDISE)}")
    kinds = sorted(feature_set.rows["kind"].unique())
    values = np.zeros(feature_set.values.shape)
    for kind in kinds:
        of_kind = (feature_set.rows["kind"] == kind).to_numpy()
        unskewed = _unskewed(feature_set.values[of_kind].astype(np.float64))
        groups = feature_set.rows.loc[of_kind, "cohort"].to_numpy() if standardise == "cohort" else None
        values[of_kind] = _z_scores(unskewed, groups)
    if len(kinds) > 1:
        which = feature_set.rows["kind"].to_numpy()[:, None] == np.array(kinds, dtype=object)[None, :]
        values = np.concatenate([values, which], axis=1)
    return values.astype(np.float32)


def _unskewed(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature this kind never has is NaN throughout
        centred = values - np.nanmean(values, axis=0)
        skewness = np.nanmean(centred**3, axis=0) / np.nanmean(centred**2, axis=0) ** 1.5
        scale = np.nanmedian(np.where(values == 0, np.nan, np.abs(values)), axis=0)
    skewed = np.abs(skewness) > SKEWED  # False for a constant feature, whose skewness is NaN
    return np.where(skewed, np.sign(values) * np.log1p(np.abs(values) / scale), values)


def _z_scores(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    scores = np.zeros_like(values)
    for group in [None] if groups is None else np.unique(groups):
        part = slice(None) if groups is None else groups == group
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            centred = values[part] - np.nanmean(values[part], axis=0)
            deviation = np.nanstd(values[part], axis=0)
        # A feature that does not vary here says nothing here: 0, not noise blown up by a deviation near 0.
        varies = deviation > 1e-9 * (1 + np.nan_to_num(np.abs(values[part])).max(axis=0))
        scores[part] = np.divide(centred, deviation, out=np.zeros_like(centred), where=varies)
    return np.clip(np.nan_to_num(scores, nan=0.0), -CLIP, CLIP)


def _read_h5(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    rows, values = [], []
    with h5py.File(path, "r") as file:
        names_are_kinds = "instance_names" in file.attrs
        for patient, group in file.items():
            part = group["features"][()]
            for instance in json.loads(group.attrs["instances"]):
                method, separator, _ = instance.partition("|")
                kind = method if separator else instance if names_are_kinds else ""
                rows.append((patient, str(group.attrs["project"]), kind))
            values.append(part)
    return pd.DataFrame(rows, columns=["patient_id", "project", "kind"]), np.concatenate(values)


def _read_parquet(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    table = pd.read_parquet(path)
    return table[["patient_id", "project"]].assign(kind=""), table.select_dtypes("number").to_numpy(dtype=np.float32)


def _clinical(path: Path) -> pd.DataFrame:
    """The columns of CLINICAL that the table has, by patient, as text."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False).drop_duplicates("patient_id").set_index("patient_id")
    there = [name for name in CLINICAL if name in table]
    if not there:
        raise StudyError(f"{path}: has none of the columns {', '.join(CLINICAL)}")
    return table[there]


def _further_columns(clinical: Path | None, sites: Path | None) -> Callable[[pd.Index], pd.DataFrame]:
    """From patients to the columns of their label rows beside the usual ones: clinical ones, and the institution."""

    def columns(patients: pd.Index) -> pd.DataFrame:
        found = pd.DataFrame(index=patients)
        if clinical is not None:
            found = _clinical(clinical).reindex(patients).fillna("")
        if sites is not None:
            known = pd.read_csv(sites, dtype=str, keep_default_na=False).set_index("TSS Code")["Source Site"]
            codes = [site_code(patient) for patient in patients]
            found["site"] = [known.get(code, code) for code in codes]
        return found.reset_index(drop=True)

    return columns


def _write_cohort(
    code: str,
    feature_set: FeatureSet,
    values: np.ndarray,
    labels: Path,
    out: Path,
    further: Callable[[pd.Index], pd.DataFrame],
) -> dict[str, str | int]:
    path = labels / f"{code}_survival.csv"
    faults = Faults(f"labels {labels}")
    patients = read_labels(path, path.name, faults, leave_out=False).patients()
    faults.raise_any()
    of_cohort = feature_set.rows[feature_set.rows["cohort"] == code]
    bags = of_cohort.groupby("patient_id").groups
    kept = patients[patients.index.isin(list(bags))]
    for patient, project in zip(kept.index, kept["project"], strict=True):
        bag = values[bags[patient]]
        write_h5(_bag_path(out, project, patient), bag, np.zeros((len(bag), 2), np.int32))
    table = pd.DataFrame(
        {
            "patient_id": kept.index,
            "pathology_id": kept.index,
            "t": [f"{time:g}" for time in kept["time"]],
            "e": kept["event"].to_numpy(),
            "project": kept["project"].to_numpy(),
        }
    )
    table = pd.concat([table, further(kept.index)], axis=1)
    with atomic_path(out / "labels" / f"{code}.csv") as temporary:
        table.to_csv(temporary, index=False)
    return {
        "cohort": code,
        "patients": len(kept),
        "events": int(kept["event"].sum()),
        "rows": sum(len(bags[patient]) for patient in kept.index),
        "left_out": len(patients) - len(kept),
    }


def _bag_path(out: Path, project: str, patient: str) -> Path:
    return out / "features" / f"TCGA-{project.removeprefix('TCGA-')}" / f"{patient}.h5"
