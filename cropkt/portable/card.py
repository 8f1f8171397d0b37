"""The words that go with a library: Hugging Face's model card, and the licence of the weights."""

import pandas as pd

from cropkt.portable.bundle import ENSEMBLE, LibraryConfig
from cropkt.portable.reference import GROUP

NOT_STATED = "other"
"""Hugging Face's identifier of a licence that is not in its list."""
CARD = """---
library_name: cropkt
license: {licence}
tags:
- pathology
- whole-slide-image
- survival-analysis
- multiple-instance-learning
- safetensors
---

# Source models of study {study}

{models} survival models of {sources} cancer cohorts. Each reads the patch features of one patient's slides and gives a
risk: a higher risk means an earlier event. They are research models; no one has tested them for use on patients.

- Features: encoder **{encoder}**, {features} numbers per patch. Risks from features of another encoder mean nothing.
- Architecture: {architecture}, loss {loss}, {epochs} epochs, {precision}. All models started from the weights `null`.
- Licence of the weights: {licence} (see LICENSE). The encoder's own licence applies too.

## Use

```
pip install cropkt
cropkt predict --library FOLDER --features MY_FEATURES --source {example} --cohort {example} --out risks.csv
cropkt attention --library FOLDER --source {example} --slide SLIDE.h5
```

## Sources

| source | cohort | models | training patients per model | C-index at home (95 % interval) | deaths |
|---|---|---|---|---|---|
{rows}

C-index: pooled over test folds, of each fold's model on patients it has not seen. transfer.csv has every pair.

## What goes with the models

- For each source and each cohort it was measured in: the distribution of its risk, and survival for a risk while the
  cohort is followed. `cropkt predict --cohort` says in terms of which cohort to read a risk.
- For each cohort: the mean of its slides' features and their main directions, so that slides unlike them are named.

No patient's row is in this folder: no ids, no digests of ids, no slide names, no times. Risks are kept as means of
groups of at least {group} patients. Cumulative hazards are on a monthly grid, and change in straight lines between
months that at least {group} deaths lie between; the months where they bend can be read off. Weights can still remember
something of the patients they were trained on, as those of any model can.

## Where it comes from

{provenance}
"""
NO_LICENCE = """No licence is stated for these weights. Ask whoever gave you this folder before you use or share them.

The features were made with the encoder {encoder}. Its licence applies to what was made with it.
"""


def model_card(config: LibraryConfig, matrix: pd.DataFrame) -> str:
    """The text of README.md; `matrix` is transfer.csv."""
    at_home = matrix[matrix["source"] == matrix["target"]].set_index("source")
    return CARD.format(
        licence=config.licence,
        study=config.study,
        models=sum(len(config.cohorts[source].models) for source in config.sources),
        sources=len(config.sources),
        encoder=config.encoder,
        features=config.architecture.features,
        architecture=config.architecture.name,
        loss=config.training.loss,
        epochs=config.training.epochs,
        precision=config.precision,
        example=config.sources[0],
        rows="\n".join(_row(config, source, at_home) for source in config.sources),
        group=GROUP,
        provenance="\n".join(f"- {name}: {value}" for name, value in config.provenance.items()),
    )


def _row(config: LibraryConfig, source: str, at_home: pd.DataFrame) -> str:
    entry = config.cohorts[source]
    patients = sorted({model.training_patients for model in entry.models})
    seen = f"{patients[0]} to {patients[-1]}" if len(patients) > 1 else str(patients[0])
    told, deaths = "not measured", ""
    if source in at_home.index:
        row = at_home.loc[source]
        deaths = f"{row['n_events']:.0f}"
        if pd.notna(row["interval_lower"]):
            told = f"{row['c_index_pooled']:.2f} ({row['interval_lower']:.2f} to {row['interval_upper']:.2f})"
    return f"| {source} | {entry.name} | {len(entry.models)} | {seen} | {told} | {deaths} |"


def licence_text(config: LibraryConfig, text: str) -> str:
    """The text of LICENSE: the given one, or that none is stated."""
    return text or NO_LICENCE.format(encoder=config.encoder)


def summary(config: LibraryConfig) -> str:
    """What `cropkt library show` prints."""
    lines = [
        f"study {config.study}, encoder {config.encoder} ({config.architecture.features} features), "
        f"{config.architecture.name}, licence {config.licence}",
        f"{'cohort':10s} {'models':>6s}  {'sources read in it':>18s}  name",
    ]
    for code, entry in config.cohorts.items():
        known = len([source for source in entry.references if source != ENSEMBLE])
        lines.append(f"{code:10s} {len(entry.models):6d}  {known:18d}  {entry.name}")
    return "\n".join(lines)
