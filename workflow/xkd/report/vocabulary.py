"""The words for what became of a claim, each in one sentence; tables, pages and code share them."""

from collections.abc import Iterable
from math import isnan
from typing import NamedTuple


class Word(NamedTuple):
    """symbol: for readers who see no colour; tone: its colour, one of for, less, against, open."""

    symbol: str
    tone: str
    means: str


WORDS = {
    "reproduced": Word(
        "✓", "for", "All of our interval lies above 0, and the published difference lies inside it."
    ),
    "holds": Word(
        "✓", "for", "All of our interval lies above 0; no published difference is at hand."
    ),
    "larger than published": Word(
        "↑", "for", "The published difference lies below our whole interval."
    ),
    "smaller than published": Word(
        "↓",
        "less",
        "The published difference lies above our whole interval, whether or not 0 lies inside.",
    ),
    "contradicted": Word(
        "✗", "against", "All of our interval lies below 0: the opposite of what is claimed."
    ),
    "undecided": Word(
        "?",
        "open",
        "0 and the published difference, if there is one, lie inside our interval; or there is no "
        "interval, with one seed or with seeds that all differ by exactly the same amount.",
    ),
    "not comparable": Word(
        "≠",
        "open",
        "Our data, network or training differ from the paper's; what was found here, said beside "
        "it, is about the stand-ins and says nothing about the paper.",
    ),
    "within tolerance": Word(
        "✓",
        "for",
        "|ours − published| ≤ max(2 s.d. of ours; 0.5 points on CIFAR-10, 0.7 on CIFAR-100, 0.1 on "
        "MNIST).",
    ),
    "outside tolerance": Word("✗", "against", "It is more than that."),
    "not measured": Word("·", "open", "One of the two was not measured."),
}
VERDICTS = tuple(WORDS)
#: What is found here, whatever the paper prints.
FOUND = ("holds", "contradicted", "undecided", "not measured")


def found(difference: float, low: float, high: float) -> str:
    """One of `FOUND`: where our interval lies, a claim being a difference above zero."""
    if isnan(difference):
        return "not measured"
    return "holds" if low > 0 else "contradicted" if high < 0 else "undecided"


def verdict(
    difference: float, low: float, high: float, published: float, comparable: bool = True
) -> str:
    """One of `VERDICTS`: our interval against zero and against the published difference.

    Without an interval (NaN bounds) nothing is known about other seeds.
    """
    here = found(difference, low, high)
    if here == "not measured":
        return here
    if not comparable:
        return "not comparable"
    if here == "contradicted" or isnan(low) or isnan(published):
        return here
    if published > high:
        return "smaller than published"
    if published < low:
        return "larger than published"
    return "reproduced" if here == "holds" else here


def legend(used: Iterable[str] = VERDICTS) -> list[str]:
    """A sentence per word that was used, for notes: `✓ reproduced: All of ...`."""
    used = set(used)
    return [f"{word.symbol} {name}: {word.means}" for name, word in WORDS.items() if name in used]


#: Ends the outcome of what was measured otherwise than the paper did.
UNLIKE = " here, not comparable"


def outcome(verdict: str, found: str) -> str:
    """What is counted: the verdict, or what was found where the paper cannot be compared with."""
    return f"{found}{UNLIKE}" if verdict == "not comparable" else verdict


#: Every outcome, in the order of columns that count them.
OUTCOMES = tuple(
    outcome(verdict, found)
    for verdict in VERDICTS
    for found in (FOUND[:3] if verdict == "not comparable" else FOUND[:1])
)
