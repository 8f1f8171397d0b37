"""Folds that keep a tissue source site together, so that a model is tested on hospitals it has not learnt from.

Encoders know the site of a slide by its stain and scanner, and sites differ in whom they treat (Howard et al., Nature
Communications 2021). One institution may have several site codes; give institutions where they are known.
"""

from collections.abc import Mapping

import pandas as pd

from cropkt.data.patients.folds import Fold, make_splits
from cropkt.errors import StudyError
from cropkt.seeds import generator

LARGEST_SHARE = 0.5
"""Of patients or events in one site: beyond it, the fold that tests the site has less than half to train on."""


def site_code(barcode: str) -> str:
    """The tissue source site of a TCGA barcode, its characters 6 and 7: `TCGA-OR-A5J1` is of site `OR`.

    Raises ValueError for anything that is no TCGA barcode.
    """
    parts = barcode.upper().split("-")
    if len(parts) < 3 or parts[0] != "TCGA" or len(parts[1]) != 2:
        raise ValueError(f"{barcode!r} is not a TCGA barcode such as TCGA-OR-A5J1, so its site is unknown")
    return parts[1]


def make_site_splits(
    labels: pd.DataFrame, sites: Mapping[str, str], n_folds: int, seed: int, code: str
) -> tuple[Fold, ...]:
    """`n_folds` folds of the patients of `labels` (index patient_id; column event); no site is in two folds' tests.

    sites: by patient. Sites are dealt out, those with most events first and equal ones in an order drawn from the
    stream of `seed` and `code`, each to the fold that has fewest events so far, then fewest patients. Raises
    StudyError that says why where it cannot be done: fewer sites than folds, or one site with more than half of the
    patients or events.
    """
    site = pd.Series({patient: sites[patient] for patient in labels.index})
    table = pd.DataFrame({"patients": site.groupby(site).size(), "events": labels["event"].groupby(site).sum()})
    _check_possible(table, n_folds, code)
    shuffled = table.iloc[generator(seed, "site splits", code).permutation(len(table))]
    ordered = shuffled.sort_values(["events", "patients"], ascending=False, kind="stable")
    load = [(0, 0)] * n_folds
    fold_of: dict[str, int] = {}
    for name, row in ordered.iterrows():
        fold = min(range(n_folds), key=lambda number: load[number])
        fold_of[str(name)] = fold
        load[fold] = (load[fold][0] + int(row["events"]), load[fold][1] + int(row["patients"]))
    tests = site.map(fold_of)
    return tuple(
        Fold(tuple(sorted(site.index[tests != fold])), tuple(sorted(site.index[tests == fold])))
        for fold in range(n_folds)
    )


def fresh_folds(
    labels: pd.DataFrame, site: pd.Series, n_folds: int, seed: int, code: str, *, by_site: bool
) -> tuple[tuple[Fold, ...], str]:
    """New folds of the patients of `labels`, by site where that is asked for and possible; and why it was not, or "".

    site: by patient, "" where unknown. Without sites folds are stratified by event and project.
    """
    stratified = make_splits(labels, n_folds, seed, code)
    if not by_site:
        return stratified, ""
    unknown = int((site == "").sum())
    try:
        if unknown:
            raise StudyError(f"{code}: the site of {unknown} of {len(site)} patients is unknown")
        sites = dict(zip(map(str, site.index), map(str, site), strict=True))
        return make_site_splits(labels, sites, n_folds, seed, code), ""
    except StudyError as error:
        return stratified, str(error)


def _check_possible(table: pd.DataFrame, n_folds: int, code: str) -> None:
    if len(table) < n_folds:
        raise StudyError(f"{code}: {len(table)} sites cannot fill {n_folds} site-preserving folds")
    for what in ("patients", "events"):
        total = int(table[what].sum())
        share = table[what].max() / total if total else 0.0
        if share > LARGEST_SHARE:
            raise StudyError(
                f"{code}: {share:.0%} of the {total} {what} are from one site ({table[what].idxmax()}), so the fold "
                f"that tests it would have fewer than half to train on"
            )
