"""Searches: the value of a hyper-parameter whose trial scores best on the hold-out split (A3).

No test image has a part in it: trials are trained on the `fit` split, scored on the `holdout`
split, and load no other; their teachers are trained on the `fit` split too.
"""

from typing import Any

from xkd.errors import Refused
from xkd.files import read_json, reading, write_json
from xkd.plan.runs import Layout
from xkd.plan.settings import CellSettings


def choose(settings: CellSettings, layout: Layout) -> None:
    """Write `search.json`: every value with its hold-out accuracy, and the winner.

    Ties go to the lower negative log-likelihood.
    """
    search = settings.search
    scores = []
    for value, cell in search.trials:
        metrics = read_json(layout.manifest(cell))["runs"][str(search.seed)]["metrics"]
        scores.append({"value": value, "trial": str(cell), **metrics})
    winner = max(scores, key=lambda score: (score["top1"], -score["nll"]))
    write_json(
        layout.search(settings.cell),
        {
            "cell": str(settings.cell),
            "option": search.option,
            "winner": winner["value"],
            "split": "holdout",
            "seed": search.seed,
            "scores": scores,
        },
    )
    print(f"{settings.cell}: {search.option} = {winner['value']:g}")


def decided(settings: CellSettings, layout: Layout) -> CellSettings:
    """The cell with the winner of its search filled in; the same cell if nothing was searched.

    Raises: Refused when the search has not been carried out, or was over other values.
    """
    if settings.search is None:
        return settings
    path = layout.search(settings.cell)
    found: dict[str, Any] = read_json(path)
    asked = [value for value, _ in settings.search.trials]
    with reading(path):
        values, winner = [score["value"] for score in found["scores"]], found["winner"]
    if values != asked:
        raise Refused(
            f"{path}: found a search over {values}, expected {asked}; run the rule 'search' again"
        )
    return settings.with_option(settings.search.option, winner)
