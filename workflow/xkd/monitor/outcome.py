"""What a run of the pipeline left, and where: counted from the files that are there."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from xkd.plan.grid import Plan
from xkd.plan.papers import ITEMS
from xkd.plan.runs import Layout
from xkd.report.vocabulary import UNLIKE

PAGES = {"page": "index.html", "report": "report.html"}


def closing(plan: Plan, layout: Layout, outputs: Iterable[str]) -> list[str]:
    """What a run of the pipeline says at its end.

    Args:
        outputs: of all its jobs. Where none belongs to the results, they are all there is to tell.
    """
    files = list(outputs)
    if files and not any(Path(path).is_relative_to(layout.root) for path in files):
        return [f"made     {path}" for path in files]
    return outcome(plan, layout)


def outcome(plan: Plan, layout: Layout) -> list[str]:
    """Lines for a terminal: tables, figures, pages, and verdicts on each paper's claims."""
    lines = [*_items(plan, layout), *_verdicts(plan, layout)]
    for name, file in PAGES.items():
        if (path := layout.root / file).exists():
            lines.append(f"{name:8} {path}")
    return lines or [f"nothing in {layout.root} yet; `snakemake` or `make demo` fills it"]


def _items(plan: Plan, layout: Layout) -> Iterator[str]:
    """How many items are drawn, of those that belong to `all` and of the optional ones."""
    for kind in ITEMS:
        items = [item for item in plan.items.values() if item.kind == kind]
        drawn = [item for item in items if _drawn(layout, kind, item.name)]
        if not drawn:
            continue
        wanted = sum(not item.optional for item in items)
        extra = sum(item.optional for item in drawn)
        more = f" and {extra} optional" if extra else ""
        yield f"{kind:8} {layout.root / kind}/  ({len(drawn) - extra} of {wanted}{more})"


def _drawn(layout: Layout, kind: str, name: str) -> bool:
    return all(Path(path).exists() for path in layout.item(kind, name).values())


def _verdicts(plan: Plan, layout: Layout) -> Iterator[str]:
    """Outcomes of every paper's comparisons, each counted once, from its page of claims."""
    for paper, entry in plan.config["papers"].items():
        path = layout.root / "tables" / f"{paper}_claims.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row.get("counted") == "True"]
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        outcomes = [row["outcome"] for row in rows if row.get("outcome")]
        alike = _told(one for one in outcomes if not one.endswith(UNLIKE))
        unlike = _told(one.removesuffix(UNLIKE) for one in outcomes if one.endswith(UNLIKE))
        parts = [alike, unlike and f"not comparable with the paper: {unlike}"]
        yield f"claims   {entry['label']}: {'; '.join(filter(None, parts)) or 'none judged'}"


def _told(outcomes: Iterable[str]) -> str:
    """`14 holds, 17 undecided`, the most frequent first."""
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes).most_common())
