"""The verdicts on a pair between cohorts, best first, and what each says. Nothing else names or orders them."""

from enum import StrEnum


class Verdict(StrEnum):
    """What may be concluded of a pair, at a false discovery rate of 5 %. Of several that hold, the first counts."""

    WORTH_BORROWING = "worth borrowing"
    TRANSFERS = "transfers"
    BETTER_THAN_CHANCE = "better than chance"
    NOT_SHOWN = "not shown"
    WORSE_THAN_CHANCE = "worse than chance"
    CANNOT_TELL = "cannot tell"


PROVEN = (Verdict.WORTH_BORROWING, Verdict.TRANSFERS)
"""The verdicts that say that something has transferred."""
MEANING = {
    Verdict.WORTH_BORROWING: "transfers, and is better than whatever the target can train at home: its own model and a "
    "Cox model of mean features",
    Verdict.TRANSFERS: "better than chance and than its own untrained start",
    Verdict.BETTER_THAN_CHANCE: "above 0.5, but not shown to be better than its own untrained start",
    Verdict.NOT_SHOWN: "no difference from 0.5 shown; says nothing of a difference too small for these patients",
    Verdict.WORSE_THAN_CHANCE: "below 0.5: the source's knowledge points the wrong way",
    Verdict.CANNOT_TELL: "too few events or comparable patients for any answer; no colour, whatever the number",
}
