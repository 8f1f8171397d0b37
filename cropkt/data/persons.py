"""Who is who: one person has one id, however tables, split files and cohorts write it.

TCGA's barcodes name the participant in their first 12 characters (TCGA-OR-A5J1); sample, slide and aliquot barcodes go
on after them (https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/). Ids of other origin are compared without
regard to case. A study whose ids say more than the person states a rule of its own, `ids: {patient: <pattern>}`.
"""

import hashlib
import re
from functools import cache

TCGA = "tcga"
"""The rule where a study states none: TCGA barcodes are cut to the participant, other ids are taken as written."""
_BARCODE = re.compile(r"(TCGA)[-._]([A-Z0-9]{2})[-._]([A-Z0-9]{4})(?![A-Z0-9])", re.IGNORECASE)


@cache
def patient_id(written: str, rule: str = TCGA) -> str:
    """The patient that the id `written` in a table stands for.

    `rule` is `tcga`, or a regular expression of one group, found anywhere in the id: the group is the patient. An id in
    which it is not found is taken as written.
    """
    if rule != TCGA:
        found = re.search(rule, written)
        return found.group(1) or written if found else written
    barcode = _BARCODE.match(written)
    return "-".join(barcode.groups()).upper() if barcode else written


@cache
def person_of(patient: str) -> str:
    """What is equal for two patient ids if and only if they are one person: the participant, in lower case."""
    return patient_id(patient.strip()).casefold()


def person_digest(patient: str) -> str:
    """16 hex digits (BLAKE2b of `person_of`) that stand for a patient where the id itself must not be told."""
    return hashlib.blake2b(person_of(patient).encode(), digest_size=8).hexdigest()


def tissue_source_site(patient: str) -> str:
    """The two characters that name the tissue source site in a TCGA barcode (OR in TCGA-OR-A5J1), else ""."""
    barcode = _BARCODE.match(patient)
    return barcode.group(2).upper() if barcode else ""
