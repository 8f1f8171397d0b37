"""Names of encoders: which of them mean the same one, and which one a folder's name says."""

import re
from collections.abc import Iterable

SAME_ENCODER = (
    frozenset(["uni2h", "univ2", "uni2", "mahmooduni2", "mahmooduni2h"]),
    frozenset(["uni", "univ1", "mahmooduni"]),
    frozenset(["conch", "conchv1", "mahmoodconch"]),
    frozenset(["conchv15", "conch15", "mahmoodconchv15"]),
    frozenset(["virchow", "virchow1"]),
    frozenset(["virchow2", "virchowv2"]),
    frozenset(["gigapath", "provgigapath"]),
    frozenset(["ctranspath", "ctp", "xiyuewangctranspath"]),
    frozenset(["hoptimus0", "hoptimus", "bioptimushoptimus0"]),
    frozenset(["hoptimus1", "bioptimushoptimus1"]),
    frozenset(["h0mini", "bioptimush0mini"]),
    frozenset(["phikon", "owkinphikon"]),
    frozenset(["phikonv2", "owkinphikonv2"]),
    frozenset(["resnet50", "resnet50trunc", "resnet50imagenet", "resnet50b"]),
    *map(frozenset, (["musk"], ["plip"], ["hiboul"], ["kaikovitb8", "kaikovitb"], ["gpfm"], ["midnight12k"])),
)
"""Names that TRIDENT, STAMP, Hugging Face and papers give one encoder, letters and digits alone."""
_KNOWN = frozenset(name for names in SAME_ENCODER for name in names)
_FEATURES = re.compile(r"(?:patch_)?(?:features|feats|embeddings)[_-](?P<encoder>[A-Za-z]\w+)", re.IGNORECASE)


def same_encoder(one: str, other: str) -> bool:
    """Do two names mean one encoder? Case, marks and the owner on Hugging Face do not count, nor a hash at the end, nor
    the grid that `init` adds where one encoder has two (uni_v2-20x_256px_0px_overlap)."""
    ours, theirs = _plain(one), _plain(other)
    return ours == theirs or any(ours in names and theirs in names for names in SAME_ENCODER)


def encoder_in_folders(folders: Iterable[str]) -> str:
    """The encoder that one of the `folders`' names says, the first that does: uni_v2, features_conch_v15,
    feats-l0-s256-UNI2h. "" where none does."""
    for folder in folders:
        if found := _known_in(folder):
            return found
        if named := _FEATURES.fullmatch(folder):
            return named["encoder"]
    return ""


def _known_in(folder: str) -> str:
    """The longest end of `folder`, from one of its words on, that is an encoder's name."""
    starts = [0, *(mark.end() for mark in re.finditer(r"[_\s.-]+", folder))]
    return next((folder[start:] for start in starts if _plain(folder[start:]) in _KNOWN), "")


def _plain(name: str) -> str:
    name = re.sub(r"-(?:[0-9a-f]{8}|[\d.]+x_\d+px_\d+px_overlap)$", "", name.casefold().rsplit("/", 1)[-1])
    return re.sub(r"[^a-z0-9]", "", name)
