"""Pack the source models of a finished run into a library (bundle.py), with the statistics that go with them.

Risks come from the predictions that the sweep has stored; slides' mean features are read once from the study. Patients
go in, and numbers of groups of patients come out (reference.py, seen.py).
"""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from cropkt.cohorts import cohort_info, in_registry_order
from cropkt.data.slide_files.features import FeatureFileError, read_features
from cropkt.data.study import Cohort, Study
from cropkt.errors import CheckpointError, ConfigError, InputError, refuse_unknown
from cropkt.files import atomic_path, content_digest, digest, write_json
from cropkt.models.checkpoint import load_model
from cropkt.portable.advice import ADVICE, advice_of
from cropkt.portable.bundle import (
    CONFIG,
    DIGESTED,
    ENSEMBLE,
    MATRIX,
    STATISTICS,
    WEIGHTS,
    CohortEntry,
    Library,
    LibraryConfig,
    ModelEntry,
    arrays_of,
    config_to_json,
    model_prefix,
    open_library,
    reference_prefix,
)
from cropkt.portable.card import NOT_STATED, licence_text, model_card
from cropkt.portable.reference import Reference, learn_reference, mean_of_known
from cropkt.portable.seen import learn_seen
from cropkt.training.cards import SourceCard, read_null_card, source_card
from cropkt.transfer.pair import pair_fingerprint
from cropkt.transfer.protocol import mode_of
from cropkt.transfer.store import ResultsFolder
from cropkt.version import VERSION

MATRIX_COLUMNS = (
    "source", "target", "mode", "c_index_pooled", "standard_error", "interval_lower", "interval_upper", "n_patients",
    "n_events", "n_comparable", "q_chance", "verdict", "status",
)  # fmt: skip
"""Columns of the transfer matrix that travel; none is of a patient."""


@dataclass(frozen=True)
class ExportSettings:
    """sources: codes, () for all that have models. licence: an identifier of Hugging Face's list, with its text."""

    sources: tuple[str, ...] = ()
    licence: str = NOT_STATED
    licence_text: str = ""


def export_library(
    results: ResultsFolder,
    study: Study,
    to: Path,
    settings: ExportSettings = ExportSettings(),
    report: Callable[[str], None] = print,
) -> Library:
    """Write the library of `results`' source models to the folder `to`, which appears whole or not at all.

    `report` is told each cohort. Raises ConfigError where `to` exists or a source has no models, InputError where the
    models were trained on other data than `study` has, CheckpointError for a damaged model.
    """
    if to.exists():
        raise ConfigError(f"{to}: exists already; name a new folder, or delete it")
    sources = _sources(results, settings.sources)
    cards = {source: _cards(results, study, source) for source in sources}
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f"{to.name}.tmp-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        _write_weights(temporary / WEIGHTS, results, cards)
        references = _references(results, study, cards, report)
        statistics = _statistics(study, sources, references, report)
        with atomic_path(temporary / STATISTICS) as path:
            save_arrays(statistics, path)
        _matrix(results, sources).to_csv(temporary / MATRIX, index=False)
        read_in = in_registry_order({cohort for _, cohort in references})
        write_json(temporary / ADVICE, advice_of(results, read_in, sources))
        _write_words(temporary, _config(results, study, cards, references, settings), settings)
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_library(to)


def _sources(results: ResultsFolder, wanted: Sequence[str]) -> tuple[str, ...]:
    there = results.models.cohorts()
    if not there:
        raise InputError(f"{results.models.path}: no source models there; run the sweep first")
    for code in wanted:
        refuse_unknown("source", code, there)
    return in_registry_order(wanted or there)


def _cards(results: ResultsFolder, study: Study, source: str) -> list[SourceCard]:
    """Of the source's models, by fold. Raises InputError when they were trained on other data."""
    if source not in study.cohorts:
        raise InputError(f"study {study.name} has no cohort {source}, which has models; give --study of the run")
    cards = sorted((source_card(path) for path in results.models.of(source)), key=lambda card: card.fold)
    for card in cards:
        if card.data_fingerprint != study.cohorts[source].fingerprint:
            raise InputError(
                f"{results.models.weights(source, card.fold)}: was trained on other data than study {study.name} "
                f"has for {source}; give the study of the run, or run the sweep again"
            )
    return cards


def _write_weights(path: Path, results: ResultsFolder, cards: Mapping[str, Sequence[SourceCard]]) -> None:
    models = {"null.": results.models.null}
    models |= {
        model_prefix(source, card.fold): results.models.weights(source, card.fold)
        for source, of_source in cards.items()
        for card in of_source
    }
    weights: dict[str, torch.Tensor] = {}
    for prefix, model in models.items():
        weights |= {prefix + name: value.contiguous() for name, value in load_model(model).state_dict().items()}
    with atomic_path(path) as temporary:  # with the mode of the umask: safetensors gives its files to their owner alone
        save_file(weights, temporary, metadata={"format": "pt"})


def _references(
    results: ResultsFolder, study: Study, cards: Mapping[str, Sequence[SourceCard]], report: Callable[[str], None]
) -> dict[tuple[str, str], Reference]:
    """By (source, cohort), cohort by cohort: each source that was measured there, and all other sources together."""
    found: dict[tuple[str, str], Reference] = {}
    for cohort in study.cohorts.values():
        current = [source for source in cards if _is_current(results, cards[source], cohort)]
        if left_out := [source for source in cards if source not in current]:
            report(f"{cohort.code}: not measured with these models: {', '.join(left_out)}; left out")
        risks = _risks(results, cohort, {source: [card.fold for card in cards[source]] for source in current})
        labels = cohort.labels
        references = {source: learn_reference(labels["time"], labels["event"], risk) for source, risk in risks.items()}
        found |= {(source, cohort.code): reference for source, reference in references.items()}
        others = {source: references[source] for source in references if source != cohort.code}
        if len(others) > 1 and all(len(reference.groups) for reference in others.values()):
            found[ENSEMBLE, cohort.code] = _together(cohort, others, risks)
    return found


def _is_current(results: ResultsFolder, cards: Sequence[SourceCard], cohort: Cohort) -> bool:
    """Whether the pair was measured with these very models, on the cohort as it is in the study."""
    record = results.record(cards[0].cohort, cohort.code)
    source = digest([card.fingerprint for card in cards])
    return record is not None and record.fingerprint == pair_fingerprint(source, cohort, cards[0].precision)


def _risks(results: ResultsFolder, cohort: Cohort, folds: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """(F, N) by source, of the cohort's patients in the order of its labels; NaN where a model scores no one."""
    tables = results.prediction_tables(cohort.code, list(folds), ["patient_id", "source_fold", "risk"])
    risks = {}
    for source, table in tables.items():
        wide = table.pivot(index="source_fold", columns="patient_id", values="risk")
        risks[source] = wide.reindex(index=list(folds[source]), columns=cohort.labels.index).to_numpy(dtype=np.float64)
    return {source: risk for source, risk in risks.items() if np.isfinite(risk).any()}


def _together(cohort: Cohort, references: Mapping[str, Reference], risks: Mapping[str, np.ndarray]) -> Reference:
    """The reference of the mean percentile of several sources."""
    votes = [found.percentile(found.standardised(risks[source])) for source, found in references.items()]
    return learn_reference(cohort.labels["time"], cohort.labels["event"], mean_of_known(np.array(votes))[None])


def _statistics(
    study: Study,
    sources: Sequence[str],
    references: Mapping[tuple[str, str], Reference],
    report: Callable[[str], None],
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for (source, cohort), reference in references.items():
        found |= {reference_prefix(source, cohort) + name: value for name, value in arrays_of(reference).items()}
    for code in in_registry_order({*sources, *(cohort for _, cohort in references)}):
        means, patients = slide_means(study.cohorts[code])
        seen = learn_seen(means, patients, study.settings.seed or 0)
        report(f"{code}: {len(means)} slides" + ("" if seen else "; too few patients to say what was seen"))
        found |= {f"seen.{code}.{name}": value for name, value in (arrays_of(seen) if seen else {}).items()}
    return found


def slide_means(cohort: Cohort) -> tuple[np.ndarray, list[str]]:
    """Mean features (S, D) of the cohort's slides, each read once, and their patients; bad slides are left out, as the
    sweep has left them out and named them."""
    means, patients = [], []
    for patient, path in zip(cohort.slides["patient_id"], cohort.slides["path"], strict=True):
        try:
            means.append(read_features(path).mean(axis=0, dtype=np.float64))
        except FeatureFileError:
            continue
        patients.append(str(patient))
    return np.array(means).reshape(-1, cohort.encoder.dim), patients


def _matrix(results: ResultsFolder, sources: Sequence[str]) -> pd.DataFrame:
    pairs = results.pairs()
    return pairs.loc[pairs["source"].isin(sources), [name for name in MATRIX_COLUMNS if name in pairs]]


def _config(
    results: ResultsFolder,
    study: Study,
    cards: Mapping[str, Sequence[SourceCard]],
    references: Mapping[tuple[str, str], Reference],
    settings: ExportSettings,
) -> LibraryConfig:
    null = read_null_card(results.models.null)
    if null is None:
        raise CheckpointError(f"{results.models.null}: damaged; run the sweep again")
    cohorts = {}
    for code in in_registry_order({*cards, *(cohort for _, cohort in references)}):
        known = tuple(source for source, cohort in references if cohort == code)
        members = tuple(source for source in known if mode_of(source, code) == "transfer" and source != ENSEMBLE)
        models = tuple(_entry(card) for card in cards.get(code, ()))
        cohorts[code] = CohortEntry(cohort_info(code).name, models, known, members if ENSEMBLE in known else ())
    provenance = {
        "cropkt": VERSION,
        "torch": torch.__version__,
        "exported": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seed": str(null.seed),
    }
    return LibraryConfig(
        study.name,
        results.encoder,
        null.architecture,
        null.training,
        null.precision,
        cohorts,
        settings.licence,
        provenance,
    )


def _entry(card: SourceCard) -> ModelEntry:
    seen = (len(card.train_patients), len(card.validation_patients))
    return ModelEntry(card.fold, *seen, card.test_c_index, card.fingerprint)


def _write_words(folder: Path, config: LibraryConfig, settings: ExportSettings) -> None:
    files = {name: content_digest(folder / name) for name in DIGESTED}
    write_json(folder / CONFIG, config_to_json(config, files))
    (folder / "README.md").write_text(model_card(config, pd.read_csv(folder / MATRIX)), encoding="utf-8")
    (folder / "LICENSE").write_text(licence_text(config, settings.licence_text), encoding="utf-8")
