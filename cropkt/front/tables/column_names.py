"""Names of columns as people write them: OS_MONTHS, osMonths, "Overall Survival (Months)", PatientID."""

import re
from collections.abc import Collection

UNITS = {"day": "days", "days": "days", "month": "months", "months": "months", "mo": "months", "year": "years"}
UNITS |= {"years": "years", "yr": "years", "yrs": "years", "d": "days"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_FIRST = r"os|dss|pfi|pfs|dfi|dfs|rfs|efs|mfs|survival|followup"
_SECOND = r"time|days?|months?|years?|event|status|censor(?:ed|ship)?"
_TWO_WORDS = re.compile(rf"({_FIRST})({_SECOND})")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a column's name, in lower case: those of osmonths, osMonths and OS_MONTHS are os and months."""
    words: list[str] = []
    for word in map(str.casefold, _WORD.findall(name)):
        two = _TWO_WORDS.fullmatch(word)
        words += two.groups() if two else [word]
    return tuple(words)


def is_called(name: str, wanted: Collection[str]) -> bool:
    """Is a column's `name` one of `wanted` (lower case, words joined by _), however its words are joined?"""
    return called(name) in {plain.replace("_", "") for plain in wanted}


def called(name: str) -> str:
    """The words of a column's name, with nothing between them."""
    return "".join(words_of(name))
