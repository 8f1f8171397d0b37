"""Names of slides: the same slide with and without its file's suffix and its UUID, and whose slide it is."""

import re
import unicodedata

from cropkt.data.persons import TCGA, patient_id, person_of

SLIDE_SUFFIXES = (".svs", ".ndpi", ".tif", ".tiff", ".mrxs", ".h5", ".pt")
LONGEST_NAME = 200
_UUID = re.compile(r"\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)


def slide_id(written: str) -> str:
    """The slide that the name `written` in a table stands for.

    Folders before it (`without_folders`) and suffixes of slide and feature files are taken off, and after a TCGA
    barcode all from its first dot, elsewhere a UUID after the last one: TCGA-OR-A5J1-01Z-00-DX1.600C7D8C-....svs is
    TCGA-OR-A5J1-01Z-00-DX1. Letters with marks are one character, as tables have them: macOS writes them as two.
    """
    name = unicodedata.normalize("NFC", without_folders(written))
    while name.lower().endswith(SLIDE_SUFFIXES):
        name = name[: name.rindex(".")]
    if name.upper().startswith("TCGA-"):
        name = name.split(".", 1)[0]
    return _UUID.sub("", name)


def without_folders(written: str) -> str:
    """The last part of a path, / or \\ between its parts; a path with .. in it stays as it is, to be refused."""
    parts = re.split(r"[/\\]", written)
    return written if ".." in parts else parts[-1]


def patient_keys(slide: str, rule: str = TCGA) -> set[str]:
    """Everything a patient's `person_of` may be if `slide` is the patient's, judged by the names alone.

    That is the patient that `rule` finds in the name, the whole name, and each of its beginnings that a character
    follows which is neither letter nor digit: P-7_a and P-7.2 may be of P-7, P-71 may not.
    """
    name = slide.casefold()
    keys = {name[:end] for end in range(1, len(name) + 1) if not name[end : end + 1].isalnum()}
    found = patient_id(slide, rule)
    return keys | {person_of(found)} if found else keys


def is_plain_name(name: str) -> bool:
    """May `name` stand for a placeholder of a path pattern: can it not lead out of the pattern's folder?"""
    return len(name) <= LONGEST_NAME and name not in (".", "..") and not set("/\\\0\n") & set(name)
