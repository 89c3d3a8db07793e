"""Order and look of the methods, the same in every table and figure; imports nothing heavy.

Colours are those of Okabe & Ito (2008), which stay apart for colour-blind readers; no figure relies
on them alone, so each family also has its own marker, hatch and dash.
"""

from collections.abc import Iterable
from typing import NamedTuple

BLACK, GREY = "#000000", "#6E6E6E"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"


class Look(NamedTuple):
    color: str
    marker: str
    dash: str = "-"
    hatch: str = ""


#: Method family -> look, in the order of columns and legends: baselines, regularisers, dark
#: knowledge, peers, logits, features, LE, Oracle.
FAMILIES: dict[str, Look] = {
    "ce": Look(GREY, "d", "--", "OO"),
    "dropout": Look(SKY, "v", ":", ".."),
    "label_smoothing": Look(GREEN, "^", "-.", "//"),
    "confidence_penalty": Look(ORANGE, "s", "--", "\\\\"),
    "cwtm": Look(SKY, "v", ":", "||"),
    "cwtm_permut": Look(GREEN, "<", ":", "\\\\"),
    "cwtm_random": Look(PURPLE, ">", ":", "xx"),
    "dkpp": Look(ORANGE, "D", "--", "--"),
    "dml": Look(GREEN, "X", "-.", "xx"),
    "ban": Look(SKY, "p", "--", "//"),
    "ban_l": Look(BLUE, "h", "--", "++"),
    "dkd": Look(SKY, "P", "--", "oo"),
    "at": Look(ORANGE, "D", "-.", "\\\\"),
    "fitnet": Look(GREEN, "v", ":", "//"),
    "hint": Look(GREEN, "v", ":", "//"),
    "kd": Look(BLUE, "^", "--", ".."),
    "fsp": Look(PURPLE, "s", "-.", "++"),
    "takd": Look(SKY, "p", ":", "||"),
    "sad": Look(PURPLE, "s", "-.", "xx"),
    "kd_standardised": Look(BLUE, "<", ":", "//"),
    "dkd_standardised": Look(SKY, ">", ":", "xx"),
    "mlkd": Look(BLACK, "p", "--", "++"),
    "dist": Look(YELLOW, "D", "--", "\\\\"),
    "cat_kd": Look(ORANGE, "P", ":", ".."),
    "reviewkd": Look(GREEN, "h", "--", "||"),
    "crd": Look(PURPLE, "X", "--", "--"),
    "mcl_okd": Look(BLUE, "s", "-.", ".."),
    "ffsd": Look(VERMILLION, "v", "--", "oo"),
    "le_uniform": Look(BLACK, "x", ":", "oo"),
    "le_permut": Look(GREEN, "P", "--", "xx"),
    "le_grad_input": Look(YELLOW, "v", ":", "\\\\"),
    "le_guided_bp": Look(ORANGE, "D", "-.", "//"),
    "le_grad": Look(SKY, "^", "--", ".."),
    "le_gradcam": Look(VERMILLION, "o", "-", ""),
    "le": Look(PURPLE, "h", "-", "++"),
    "oracle_gamma0": Look(BLACK, "X", ":", "--"),
    "oracle": Look(VERMILLION, "o", "-", ""),
}
#: Colour and marker of networks, from small to large, where lines are networks.
NETWORKS = ((SKY, "o"), (BLUE, "s"), (GREEN, "^"), (VERMILLION, "D"), (PURPLE, "v"), (ORANGE, "P"))


def family(method: str) -> str | None:
    """The family of a method or of its variant: longest known prefix up to an underscore."""
    parts = method.split("_")
    for end in range(len(parts), 0, -1):
        name = "_".join(parts[:end])
        if name in FAMILIES:
            return name
    return None


def look(method: str) -> Look:
    """Colour, marker, dash and hatch of a method; black for an unknown one."""
    return FAMILIES.get(family(method) or "", Look(BLACK, "8", "-", "**"))


def ordered(methods: Iterable[str]) -> list[str]:
    """Distinct methods in the house's order; variants beside their family, unknown ones last."""
    rank = {name: place for place, name in enumerate(FAMILIES)}
    unique = dict.fromkeys(methods)
    return sorted(unique, key=lambda name: (rank.get(family(name) or "", len(rank)), name))
