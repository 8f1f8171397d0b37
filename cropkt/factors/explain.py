"""Why is a cohort odd? Where its transfer deviates, which factors go with it, and which tissue models disagree about.

Prototypes are clusters of the patches of all cohorts. For each, in the cohort that is asked about: how common it is,
how much attention the cohort's own models and the others' give it, and whether patients with more of it are put at
higher risk by either, and die earlier. A prototype that the models use with opposite signs drives their disagreement.
Own models are only asked about patients of their test fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from sklearn.cluster import KMeans

from cropkt.data.slide_files.features import read_coordinates
from cropkt.data.study import Fold, Study
from cropkt.factors.analysis import Analysis
from cropkt.factors.catalogue import COHORT_FACTORS, PAIR_FACTORS, label_of
from cropkt.factors.config import FactConfig
from cropkt.factors.facts.models import attend, few_bags
from cropkt.factors.facts.sample import FeatureSample
from cropkt.factors.facts.tables import load_fold
from cropkt.factors.statistics.effects import OUTCOME
from cropkt.seeds import named_seed
from cropkt.survival.concordance import concordance
from cropkt.survival.percentile import risk_percentile
from cropkt.transfer.store import ResultsFolder

PROTOTYPES = 8
PATIENTS, PATCHES = 150, 96
SHOWN = 12


@dataclass(frozen=True)
class Explanation:
    """Tables about one cohort, see the functions that make them; `sentences` say what stands out."""

    code: str
    sentences: list[str]
    facts: pd.DataFrame
    pairs: pd.DataFrame
    relations: pd.DataFrame
    prototypes: pd.DataFrame
    patches: pd.DataFrame


def explain_cohort(
    code: str,
    study: Study,
    results: ResultsFolder,
    samples: Mapping[str, FeatureSample],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    analysis: Analysis,
    config: FactConfig,
) -> Explanation:
    """Explain the cohort `code`; tables are factors_cohort and factors_pair. Prototypes need models and predictions."""
    cohorts, pairs = tables
    facts = fact_table(code, cohorts, analysis)
    odd = deviation_table(code, pairs, analysis)
    relations = relation_table(code, pairs)
    prototypes, patches = prototype_tables(code, study, results, samples, config)
    sentences = _sentences(code, analysis, odd, prototypes)
    return Explanation(code, sentences, facts, odd, relations, prototypes, patches)


def fact_table(code: str, cohorts: pd.DataFrame, analysis: Analysis) -> pd.DataFrame:
    """A row a fact: the cohort's value, its rank among cohorts (1 is the highest), distance from the mean in standard
    deviations, and the effect of a standard deviation as a source and as a target."""
    effects = analysis.factors.set_index("factor")
    rows = []
    for factor in COHORT_FACTORS:
        values = cohorts.set_index("cohort")[factor.name].astype(float)
        if not np.isfinite(values.get(code, np.nan)) or values.std() == 0:
            continue
        row = {
            "fact": factor.label,
            "value": values[code],
            "rank": int((values > values[code]).sum()) + 1,
            "deviation": (values[code] - values.mean()) / values.std(),
        }
        for side in ("source", "target"):
            name = f"{side}:{factor.name}"
            row |= {f"effect_as_{side}": effects["coefficient"].get(name, np.nan)}
            row |= {f"q_as_{side}": effects["q_value"].get(name, np.nan)}
        rows.append(row)
    return pd.DataFrame(rows)


def deviation_table(code: str, pairs: pd.DataFrame, analysis: Analysis) -> pd.DataFrame:
    """The cohort's pairs by how far they lie from their source and target effects, in standard errors of a cell."""
    known = pairs[np.isfinite(pairs[OUTCOME])].reset_index(drop=True)
    known = known.assign(expected=analysis.null.fitted, residual=known[OUTCOME] - analysis.null.fitted)
    spread = np.sqrt(
        analysis.null.variance["pair"] + known["standard_error"].fillna(known["standard_error"].max()) ** 2
    )
    known = known.assign(deviation=known["residual"] / spread)
    ours = known[(known["source"] == code) | (known["target"] == code)]
    columns = ["source", "target", OUTCOME, "standard_error", "expected", "deviation", "same_group", "mmd_patches"]
    return ours[columns].sort_values("deviation", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)


def relation_table(code: str, pairs: pd.DataFrame) -> pd.DataFrame:
    """Which factors go with this cohort's transfer: rank correlations over its sources and over its targets, beside the
    mean over all cohorts."""
    known = pairs[np.isfinite(pairs[OUTCOME])]
    rows = []
    for factor in PAIR_FACTORS:
        row: dict[str, str | float] = {"factor": label_of(factor.name)}
        for side, what in (("target", "over its sources"), ("source", "over its targets")):
            by = {str(name): _ranks(group, factor.name) for name, group in known.groupby(side)}
            others = [value for name, value in by.items() if name != code and np.isfinite(value)]
            row |= {what: by.get(code, np.nan), f"{what}, other cohorts": float(np.mean(others)) if others else np.nan}
        rows.append(row)
    return pd.DataFrame(rows).dropna(thresh=2).reset_index(drop=True)


def prototype_tables(
    code: str, study: Study, results: ResultsFolder, samples: Mapping[str, FeatureSample], config: FactConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a prototype, and the patches in which attention of the own and the others' models differs the most.

    Empty tables where models or predictions are missing.
    """
    empty = pd.DataFrame(), pd.DataFrame()
    cohort = study.cohorts[code]
    risks = _risks(results, code, list(samples))
    if risks is None:
        return empty
    clusters = KMeans(PROTOTYPES, n_init=3, random_state=named_seed(config.seed, "factors", "prototypes") % 2**32)
    clusters.fit(np.concatenate([sample.patches for sample in samples.values()]).astype(np.float32))
    features, offsets, origin = few_bags(cohort, PATIENTS, PATCHES, config.seed)
    patient_of = dict(zip(cohort.slides["slide"].astype(str), cohort.slides["patient_id"], strict=True))
    bag_patients = [patient_of[origin[start][0]] for start in offsets[:-1].tolist()]
    kind = clusters.predict(features.numpy())
    attention = _attention(code, list(samples), cohort.folds, results, features, offsets, bag_patients)
    if attention is None:
        return empty
    bag = np.repeat(np.arange(len(bag_patients)), offsets.diff().numpy())
    patches = pd.DataFrame(origin, columns=["slide", "patch"]).assign(
        patient_id=[bag_patients[b] for b in bag], prototype=kind, own=attention[0], others=attention[1], bag=bag
    )
    fractions = patches.groupby(["patient_id", "prototype"]).size().unstack(fill_value=0)
    fractions = fractions.div(fractions.sum(axis=1), axis=0).reindex(columns=range(PROTOTYPES), fill_value=0)
    elsewhere = np.concatenate([clusters.predict(s.patches) for name, s in samples.items() if name != code])
    rows = [
        _prototype(k, patches, fractions, float((elsewhere == k).mean()), risks, cohort.labels)
        for k in range(PROTOTYPES)
    ]
    table = pd.DataFrame(rows).sort_values("disagreement", ascending=False, kind="stable").reset_index(drop=True)
    return table, _patches(patches, study, code)


def _prototype(
    k: int, patches: pd.DataFrame, fractions: pd.DataFrame, elsewhere: float, risks: pd.DataFrame, labels: pd.DataFrame
) -> dict[str, float]:
    rows = patches[patches["prototype"] == k]
    share = len(rows) / len(patches)
    total = patches[["own", "others"]].sum()
    both = fractions.index.intersection(risks.index)
    fraction = fractions.loc[both, k]
    survival = labels.loc[both]
    outcome = concordance(survival["time"], survival["event"], fraction.to_numpy())
    own, others = (_spearman(fraction, risks.loc[both, name]) for name in ("own", "others"))
    return {
        "prototype": k,
        "share": share,
        "share_elsewhere": elsewhere,
        "attention_own": rows["own"].sum() / total["own"] / share if share else np.nan,
        "attention_others": rows["others"].sum() / total["others"] / share if share else np.nan,
        "risk_own": own,
        "risk_others": others,
        "c_index_of_fraction": outcome.c_index,
        "c_index_standard_error": outcome.standard_error,
        "disagreement": abs(own - others),
    }


def _patches(patches: pd.DataFrame, study: Study, code: str) -> pd.DataFrame:
    """The patches with the largest difference in attention, against an even share of their bag; with coordinates."""
    size = patches.groupby("bag")["bag"].transform("size")
    patches = patches.assign(difference=(patches["others"] - patches["own"]) * size)
    top = patches.sort_values("difference", key=np.abs, ascending=False, kind="stable").head(SHOWN)
    paths = dict(zip(study.cohorts[code].slides["slide"].astype(str), study.cohorts[code].slides["path"], strict=True))
    places = []
    for slide, patch in zip(top["slide"], top["patch"], strict=True):
        coordinates = read_coordinates(paths[slide])
        places.append((np.nan, np.nan) if coordinates is None else tuple(coordinates[patch][:2]))
    x, y = zip(*places, strict=True)
    return top.drop(columns="bag").assign(x=x, y=y).reset_index(drop=True)


def _attention(
    code: str,
    codes: list[str],
    splits: Sequence[Fold],
    results: ResultsFolder,
    features: torch.Tensor,
    offsets: torch.Tensor,
    patients: Sequence[str],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Attention (P,) of the own model of each patient's test fold, and the mean of other sources' models of it."""
    own, others = np.zeros(len(features)), np.zeros(len(features))
    lengths = offsets.diff()
    for number, fold in enumerate(splits):
        chosen = [b for b, patient in enumerate(patients) if patient in set(fold.test)]
        models = load_fold(results, codes, number)
        if code not in models or len(models) < 2:
            return None
        if not chosen:
            continue
        rows = torch.cat([torch.arange(int(offsets[b]), int(offsets[b + 1])) for b in chosen])
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), lengths[chosen].cumsum(0)])
        found = attend(list(models.values()), features[rows], ends)
        where = list(models).index(code)
        own[rows.numpy()] = found[where]
        others[rows.numpy()] = np.delete(found, where, axis=0).mean(axis=0)
    return own, others


def _risks(results: ResultsFolder, code: str, sources: list[str]) -> pd.DataFrame | None:
    """By patient: mean percentile of risk by the cohort's own models, and by the others'; None without predictions."""
    columns = ["patient_id", "source_fold", "target_fold", "risk"]
    pairs = results.pairs()
    measured = set(pairs.loc[pairs["target"] == code, "source"])
    percentiles = {}
    for source, table in results.prediction_tables(code, [s for s in sources if s in measured], columns).items():
        within_fold = table.groupby(["source_fold", "target_fold"])["risk"]
        percentile = within_fold.transform(lambda risk: risk_percentile(risk.to_numpy(dtype=np.float64)))
        percentiles[source] = percentile.groupby(table["patient_id"]).mean()
    if code not in percentiles or len(percentiles) < 2:
        return None
    others = pd.concat([of for source, of in percentiles.items() if source != code], axis=1).mean(axis=1)
    return pd.DataFrame({"own": percentiles[code], "others": others}).dropna()


def _sentences(code: str, analysis: Analysis, odd: pd.DataFrame, prototypes: pd.DataFrame) -> list[str]:
    name = code.upper()
    effects = analysis.effects.set_index("cohort")
    parts = []
    for side in ("source", "target"):
        values = effects[f"{side}_effect"].dropna()
        if code in values.index:
            rank = int((values > values[code]).sum()) + 1
            parts.append(f"as a {side} {values[code]:+.3f} against the average (rank {rank} of {len(values)})")
    sentences = [f"{name}'s C-index: {', '.join(parts)}."]
    for row in odd[odd["deviation"].abs() > 2].head(3).to_dict("records"):
        sentences.append(
            f"{row['source'].upper()} on {row['target'].upper()} is {row[OUTCOME]:.3f}, {row['deviation']:+.1f} "
            f"standard errors from what source and target alone would give ({row['expected']:.3f})."
        )
    if len(prototypes):
        first = prototypes.iloc[0]
        sentences.append(
            f"The models disagree most about prototype {int(first['prototype'])} ({first['share']:.0%} of {name}'s "
            f"patches): more of it goes with risk at {first['risk_own']:+.2f} by {name}'s own models, at "
            f"{first['risk_others']:+.2f} by the others' (rank correlations); as a predictor its C-index is "
            f"{first['c_index_of_fraction']:.3f} (standard error {first['c_index_standard_error']:.3f})."
        )
    return sentences


def _ranks(group: pd.DataFrame, name: str) -> float:
    known = group[np.isfinite(group[name])]
    return _spearman(known[name], known[OUTCOME]) if len(known) > 3 else float("nan")


def _spearman(one: pd.Series, other: pd.Series) -> float:
    if one.nunique() < 2 or other.nunique() < 2:
        return float("nan")
    return float(spearmanr(one, other)[0])
