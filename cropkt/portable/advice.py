"""Whom to ask about a cohort: the source that the run behind a library chose for it, and whether borrowing helps there.

The source is the one chosen on the cohort's training patients (source_choice.py), so that its C-index on the test
patients is no best of many. Cohorts with too few events to tell have none.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cropkt.borrowing.advice.recommendation import recommendation_path
from cropkt.files import read_json
from cropkt.transfer.source_choice import choice_sentence
from cropkt.transfer.store import ResultsFolder

ADVICE = "advice.json"


def advice_of(results: ResultsFolder, cohorts: Collection[str], sources: Collection[str]) -> dict[str, Any]:
    """What advice.json holds: by cohort its `source` and a `sentence`, and `borrowing`, what `cropkt recommend` said.

    Only of `cohorts` and of `sources`, which are in the library. No number in it is one patient's.
    """
    advice: dict[str, Any] = {}
    choice = results.choice()
    for code in cohorts:
        own = choice[choice["target"] == code] if len(choice) else choice
        found = _source(own, sources) if len(own) else {}
        if (borrowing := read_json(recommendation_path(results.out, results.encoder, code))) is not None:
            found["borrowing"] = borrowing
        if found:
            advice[code] = found
    return advice


def _source(of_cohort: pd.DataFrame, sources: Collection[str]) -> dict[str, Any]:
    """The source most folds chose; none where it is not in the library or its C-index has no interval."""
    rows = {row["method"]: row for row in of_cohort.to_dict("records")}
    honest = rows.get("honest")
    if honest is None or not np.isfinite(honest["interval_lower"]):
        return {}
    source = Counter(honest["sources"]).most_common(1)[0][0]
    if source not in sources:
        return {}
    own = float(rows["self"]["c_index_pooled"]) if "self" in rows else np.nan
    return {"source": source, "sentence": choice_sentence(honest, own)}


def read_advice(folder: Path) -> Mapping[str, Any]:
    """The advice of the library in `folder`, by cohort."""
    return read_json(folder / ADVICE) or {}


def sentences_of(advice: Mapping[str, Any], code: str) -> list[str]:
    """What is told of `code`, a sentence each; empty where the run knew nothing."""
    own = advice.get(code, {})
    source = (
        [f"{own['sentence']} (chosen on its training patients, C-index on the others)"] if "sentence" in own else []
    )
    return [*source, *own.get("borrowing", {}).get("sentences", [])[:2]]
