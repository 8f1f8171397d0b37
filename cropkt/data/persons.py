"""Who is who: one person has one id, however tables, split files and cohorts write it.

TCGA's barcodes name the participant in their first 12 characters (TCGA-OR-A5J1); sample, slide and aliquot barcodes go
on after them (https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/). Ids of other origin are compared without
regard to case. A study whose ids say more than the person states a rule of its own: `ids: {patient: first 8}`, or a
pattern such as `{patient}_*`.
"""

import hashlib
import re
from functools import cache

TCGA = "tcga"
"""The rule where a study states none: TCGA barcodes are cut to the participant, other ids are taken as written."""
MOST_WILDCARDS = 3
_BARCODE = re.compile(r"(TCGA)[-._]([A-Z0-9]{2})[-._]([A-Z0-9]{4})(?![A-Z0-9])", re.IGNORECASE)
_FIRST = re.compile(r"first ([1-9][0-9]?)")


@cache
def patient_id(written: str, rule: str = TCGA) -> str:
    """The patient that the id `written` in a table stands for, or "" where the id does not follow `rule`.

    `rule` is `tcga`; `first N`, the first N characters; or a pattern of the whole id with `{patient}` (as few
    characters as fit), `*` (any characters) and `?` (one character).
    """
    if rule == TCGA:
        barcode = _BARCODE.match(written)
        return "-".join(barcode.groups()).upper() if barcode else written
    if first := _FIRST.fullmatch(rule):
        length = int(first.group(1))
        return written[:length] if len(written) >= length else ""
    found = _pattern(rule).fullmatch(written)
    return found.group(1) if found else ""


def is_rule(rule: str) -> bool:
    """Is `rule` one that `patient_id` knows?"""
    if rule == TCGA or _FIRST.fullmatch(rule):
        return True
    return rule.count("{patient}") == 1 and rule.count("*") <= MOST_WILDCARDS and not set("{}") & set(_rest(rule))


def _rest(rule: str) -> str:
    return rule.replace("{patient}", "", 1)


@cache
def _pattern(rule: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{patient\}|\*|\?)", rule)
    meanings = {"{patient}": "(.+?)", "*": ".*?", "?": "."}
    return re.compile("".join(meanings.get(piece, re.escape(piece)) for piece in pieces))


@cache
def person_of(patient: str) -> str:
    """The person behind a patient id: equal for two ids if and only if they are one person's."""
    return patient_id(patient.strip()).casefold()


def person_digest(patient: str) -> str:
    """16 hex digits (BLAKE2b of `person_of`) that stand for a patient where the id itself must not be told."""
    return hashlib.blake2b(person_of(patient).encode(), digest_size=8).hexdigest()


def tissue_source_site(patient: str) -> str:
    """The two characters that name the tissue source site in a TCGA barcode (OR in TCGA-OR-A5J1), else ""."""
    barcode = _BARCODE.match(patient)
    return barcode.group(2).upper() if barcode else ""
