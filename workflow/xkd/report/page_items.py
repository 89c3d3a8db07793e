"""Items on the result page: numbers, claims, the drawn table or figure, and what is missing."""

import base64
import re
from collections.abc import Iterable, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from xkd.errors import Refused
from xkd.plan import costs, jobs
from xkd.plan.grid import Plan
from xkd.plan.items import Item
from xkd.plan.runs import Cell, Layout
from xkd.report import caveats, claims, effects, page_runs, verdicts, vocabulary
from xkd.report.layout import label

#: What a page of a table holds between its head and its end; see templates/table.html.j2.
BODY = re.compile(r"<!-- table -->(.*)<!-- /table -->", re.DOTALL)


def describe(
    plan: Plan,
    item: Item,
    records: Mapping[str, Mapping[str, Any]],
    layout: Layout,
    source: page_runs.Source,
) -> dict[str, Any]:
    """Everything about an item; texts are for readers, nothing is escaped."""
    description, reference = jobs.item_description(plan, item), source.reference
    if reference:  # what differs is what the cards say, not what a config would have done
        description["differs"] = _of_cards(item, records)
        description["fewer_seeds"] = {}
    frame = page_runs.frame(records, item.runs)
    if committed := source.claims(item.name):
        judged = claims.read(committed)
    else:
        inputs = {} if reference else _inputs(plan, item, layout)
        judged = _judged(item, description, frame, inputs)
    files = {} if reference else layout.item(item.kind, item.name)
    drawn = {form: path for form, path in files.items() if Path(path).is_file()}
    counts = [
        (len(page_runs.complete(records[str(cell)], seeds)), len(seeds))
        for cell, seeds in item.runs
    ]
    return {
        "name": item.name,
        "kind": item.kind,
        "paper": item.paper["label"],
        "number": item.entry["number"],
        "title": item.entry["title"],
        "optional": item.optional,
        "protocol": description["protocol"][:1].upper() + description["protocol"][1:],
        "analysed": bool(item.needs),  # its numbers are others than its runs' accuracies
        "banner": caveats.banner([description]),
        "caveats": caveats.sentences(description),
        "differs": description["differs"],
        "done": sum(have for have, _ in counts),
        "wanted": sum(want for _, want in counts),
        "drawn": drawn,
        "state": _state(counts, drawn, reference),
        "numbers": _numbers(item, description, frame, records),
        "claims": _lines(judged, description["labels"]),
        "frame": judged,
        "says": [claim["says"] for claim in item.claims],
        "table": _body(drawn.get("html")),
        "figure": _png(drawn.get("png")),
    }


def _state(counts: list[tuple[int, int]], drawn: Mapping[str, str], reference: bool) -> str:
    if drawn or (reference and all(have == want for have, want in counts)):
        return "done"
    return "part" if any(have for have, _ in counts) else "missing"


def _of_cards(item: Item, records: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    found = {}
    for cell in map(str, item.cells):
        every = [one for run in records[cell]["seeds"] for one in run.get("differs", ())]
        if every:
            found[cell] = [list(one) for one in dict.fromkeys(map(tuple, every))]
    return found


def _inputs(plan: Plan, item: Item, layout: Layout) -> dict[str, Any]:
    """Files of analyses that are there."""
    return {
        name: [path for path in files if Path(path).is_file()]
        for name, files in jobs.claim_inputs(plan, item, layout).items()
        if name not in ("cells", "published", "analyses")
    }


def _judged(
    item: Item, description: Mapping[str, Any], frame: pd.DataFrame, inputs: Mapping[str, Any]
) -> pd.DataFrame:
    """Claims on what there is; an analysis that is not there leaves its claim unmeasured."""
    empty = pd.DataFrame(columns=["claim", "kind", "better", "than", "verdict", "found", "cells"])
    if not item.claims or not len(frame):
        return empty
    asked = dict(description)
    asked["claims"] = [
        claim
        for claim in item.claims
        if not {"most_similar", "rises", "grows"} & claim.keys() or any(inputs.values())
    ]
    if not asked["claims"]:
        return empty
    try:
        return claims.judge(frame, asked, item.files.published, inputs)
    except Refused:
        return empty


def _lines(frame: pd.DataFrame, labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every comparison; those that verdicts are counted on are conclusions."""
    last = set(claims.conclusions(frame).index)
    return [
        _line(line, labels) | {"conclusion": index in last}
        for index, line in zip(frame.index, frame.to_dict("records"), strict=True)
    ]


def _line(line: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """One comparison for the page: texts, and numbers with None where there is none."""
    place = [label(labels, name, line[name]) for name in ("dataset", "network") if line[name] != ""]
    if line["teacher"]:
        place.append(f"from {label(labels, 'teacher', line['teacher'])}")
    numbers = {
        name: None if isnan(line[name]) else float(line[name])
        for name in ("difference", "low", "high", "p", "holm", "published", "published_low")
    }
    numbers["published_high"] = None if isnan(line["published_high"]) else line["published_high"]
    shown = {
        "ours": verdicts.interval(line, "difference", "low", "high"),
        "print": ""
        if isnan(line["published"])
        else verdicts.interval(line, "published", "published_low", "published_high"),
        "said": verdicts.words_of(line),
        "corrected": verdicts.p_value(line["holm"]),
    }
    word = vocabulary.WORDS[line["verdict"]]
    tone = (
        vocabulary.WORDS[line["found"]].tone if line["verdict"] == "not comparable" else word.tone
    )
    return {
        "claim": int(line["claim"]),
        "says": line["says"],
        "better": label(labels, "method", line["better"]),
        "than": label(labels, "method", line["than"]),
        "place": " · ".join(place) or f"mean of {line['rows']} rows",
        "whole": not place,
        "n": int(line["n"]),
        "counts": line["counts"],
        "unit": line["unit"],
        "verdict": line["verdict"],
        "found": line["found"],
        "outcome": vocabulary.outcome(line["verdict"], line["found"]),
        "symbol": word.symbol,
        "tone": tone,
        "cells": line["cells"],
        "pair": pair if len(pair := line["cells"].split()) == 2 else [],
        **numbers,
        **shown,
    }


def _numbers(
    item: Item,
    description: Mapping[str, Any],
    frame: pd.DataFrame,
    records: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Mean ± s.d. of every cell: methods in rows, the paper's own first, networks in columns."""
    labels = description["labels"]
    own = next((c["best_first"][0] for c in item.claims if "best_first" in c), None)
    methods = sorted(description["methods"], key=lambda name: name != own)
    taught: dict[tuple, set] = {}
    for cell in item.cells:
        taught.setdefault((cell.dataset, cell.network, cell.method), set()).add(cell.teacher)
    several = any(len(teachers) > 1 for teachers in taught.values())
    columns: dict[tuple, str] = {}
    cells: dict[tuple, Cell] = {}
    for cell in item.cells:
        place = (cell.dataset, cell.network, cell.teacher if several else None)
        columns.setdefault(place, _place(place, labels))
        cells[cell.method, place] = cell
    printed = claims.Sides(frame, description, item.files.published)
    rows = [
        {
            "method": label(labels, "method", method),
            "cells": [
                _number(cells.get((method, place)), item, records, printed, labels)
                for place in columns
            ],
        }
        for method in methods
    ]
    return {"columns": list(columns.values()), "rows": rows}


def _place(place: tuple, labels: Mapping[str, Any]) -> str:
    dataset, network, teacher = place
    text = f"{label(labels, 'dataset', dataset)} {label(labels, 'network', network)}"
    return f"{text} from {label(labels, 'teacher', teacher)}" if teacher else text


def _number(
    cell: Cell | None,
    item: Item,
    records: Mapping[str, Mapping[str, Any]],
    printed: claims.Sides,
    labels: Mapping[str, Any],
) -> dict[str, Any] | None:
    if cell is None:
        return None
    record, twins = records[str(cell)], labels.get("published_as", {})
    again = twins.get(cell.method) in {other.method for other in item.cells}  # stands there
    wanted = dict(item.runs)[cell]
    runs = page_runs.complete(record, wanted)
    paper = nan if printed.differing or again else 100 * printed.printed(cell)
    return {
        "cell": str(cell),
        "n": len(runs),
        "wanted": len(wanted),
        "folder": record["folder"],
        "last": _accuracy(runs, "top1"),
        "best": _accuracy(runs, "best_top1"),
        "paper": None if isnan(paper) else paper,
        "published": "" if isnan(paper) else f"{paper:.2f}",
        "damaged": any("damaged" in run for run in record["seeds"]),
    }


def _accuracy(runs: Iterable[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Percentages of the seeds, their mean with its 95 % interval, and mean ± s.d. as a text."""
    values = [100 * run["metrics"][metric] for run in runs if metric in run["metrics"]]
    if not values:
        return {"text": "–", "values": [], "mean": None, "low": None, "high": None}
    mean = effects.paired(values)
    spread = f" ± {pd.Series(values).std():.2f}" if len(values) > 1 else ""
    return {
        "text": f"{mean.mean:.2f}{spread}",
        "values": values,
        "mean": mean.mean,
        "low": None if isnan(mean.low) else mean.low,
        "high": None if isnan(mean.high) else mean.high,
    }


def missing(plan: Plan, items: Iterable[tuple[Item, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Items that are not complete: runs to go, hours on one GPU, the command."""
    found = []
    for item, shown in items:
        if shown["state"] == "done":
            continue
        settings = [plan.settings(cell) for cell in item.cells]
        trained = [one for one in settings if one.recipe is not None]
        hours = [costs.gpu_hours(one, plan.config["engine"])[0] for one in trained]
        found.append(
            {
                "name": item.name,
                "title": f"{shown['paper']} {shown['number']}: {shown['title']}",
                "runs": shown["wanted"] - shown["done"],
                "hours": sum(hours),
                "optional": item.optional,
                "command": f"snakemake --config scale={plan.scale} -- {item.name}",
            }
        )
    return found


def _body(path: str | None) -> str:
    """The blocks and notes of a table's own page, which are escaped already."""
    if path is None:
        return ""
    found = BODY.search(Path(path).read_text(encoding="utf-8"))
    return found[1] if found else ""


def _png(path: str | None) -> str:
    if path is None:
        return ""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
