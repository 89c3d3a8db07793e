"""The result page: one file, `index.html`, that needs no server, no network and no other file.

What is static is there without scripts; Observable Plot draws the rest from data that the page
carries, deflated. Links to runs and files are relative to the page.
"""

import base64
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import digest, read_json, write_text
from xkd.fingerprint import git_commit
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout
from xkd.report import caveats, claims, page_inputs, page_items, render, vocabulary
from xkd.report.layout import label
from xkd.report.page_runs import CURVES, Source

VENDOR = Path(__file__).with_name("vendor")
SCRIPTS = ("d3-7.9.0.min.js", "plot-0.6.17.umd.min.js")


def write(plan: Plan, layout: Layout, reference: Path | None = None) -> Path:
    """Write `index.html` into the results of a plan, and return its path.

    Args:
        reference: a folder of small files of complete runs, shown in place of the results.
    """
    source = Source(reference or layout.root, reference is not None)
    target = source.root / "index.html"
    items = _worth_showing(plan, layout, source)
    records = {}
    for item in items:
        for cell, seeds in item.runs:
            known = records.get(str(cell), {"seeds": []})["seeds"]
            if len(known) < len(seeds):
                records[str(cell)] = source.record(plan.settings(cell), plan.settings(cell).seeds)
    shown = [page_items.describe(plan, item, records, layout, source) for item in items]
    content = _data(plan, items, shown, records, layout, source, target.parent)
    text = render.to_page(
        scale=plan.scale,
        reference=source.reference,
        papers=_papers(plan, shown),
        items=shown,
        banner=_banner(shown),
        words=vocabulary.WORDS,
        outcomes=[name for name in vocabulary.OUTCOMES if name in _outcomes(shown)],
        provenance=_provenance(records),
        data_sets=_data_sets(plan, records, layout),
        missing=page_items.missing(plan, zip(items, shown, strict=True)),
        commit=git_commit(),
        relative=lambda path: os.path.relpath(path, target.parent),
        inputs=[
            content["cells"].get(one["cell"], {}).get("label", one["cell"])
            for one in content["inputs"]
        ],
        data=_packed(content),
        scripts=[(VENDOR / name).read_text(encoding="utf-8") for name in SCRIPTS],
        sums=(VENDOR / "SHA256SUMS").read_text(encoding="utf-8"),
    )
    write_text(target, text)
    return target


def _worth_showing(plan: Plan, layout: Layout, source: Source) -> list[Any]:
    """Items in the order of the config; optional ones where something of them is there."""
    return [
        item
        for item in plan.items.values()
        if not item.optional
        or any(Path(path).exists() for path in layout.item(item.kind, item.name).values())
    ]


def _banner(shown: Iterable[Mapping[str, Any]]) -> str:
    if all(item["banner"] for item in shown):
        return (
            "Nothing on this page says anything about the papers: other data, networks or training."
        )
    if any(item["banner"] for item in shown):
        return "Where ≠ stands, data, networks or training are not the paper's."
    return ""


def _outcomes(shown: Iterable[Mapping[str, Any]]) -> set[str]:
    return {line["outcome"] for item in shown for line in item["claims"]}


def _papers(plan: Plan, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per paper: what it is, and how its comparisons came out, each counted once."""
    found = []
    for paper in plan.config["papers"].values():
        items = [item for item in shown if item["paper"] == paper["label"]]
        once = claims.once([item["frame"] for item in items])
        counts = Counter(
            outcome
            for frame in once
            for outcome in map(vocabulary.outcome, frame.verdict, frame.found)
        )
        outcomes = [(name, counts[name]) for name in vocabulary.OUTCOMES if counts[name]]
        found.append(
            {
                **paper,
                "items": items,
                "outcomes": [
                    {"name": name, "count": count, **_look(name)} for name, count in outcomes
                ],
                "total": sum(counts.values()),
                "drawn": sum(item["state"] == "done" for item in items),
            }
        )
    return found


def _look(outcome: str) -> dict[str, str]:
    """Symbol and colour of an outcome: of what was found, where that is all there is to say."""
    word = vocabulary.WORDS[outcome.removesuffix(vocabulary.UNLIKE)]
    return {"symbol": word.symbol, "tone": word.tone}


def _provenance(
    records: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, list[tuple[str, int]]]]:
    """Where the runs come from: every distinct value, with how many runs have it."""
    runs = [run for record in records.values() for run in record["seeds"] if "metrics" in run]
    told = []
    for title, name in (("Commit", "commit"), ("Host", "host"), ("Device", "device")):
        told.append((title, Counter(str(run.get(name)) for run in runs).most_common()))
    told.append(("Precision", Counter(str(run["precision"]) for run in runs).most_common()))
    packages = Counter(
        f"{name} {version}" for run in runs for name, version in run["versions"].items()
    )
    told.append(("Versions", sorted(packages.items())))
    days = sorted(str(run["finished"])[:10] for run in runs)
    if days:
        told.append(("Finished", [(f"{days[0]} to {days[-1]}", len(days))]))
        hours = sum(float(run["seconds"] or 0) for run in runs) / 3600
        told.append(("Training", [(f"{hours:.1f} hours of runs", len(runs))]))
    return told


def _data_sets(plan: Plan, records: Mapping[str, Any], layout: Layout) -> list[dict[str, str]]:
    """Prepared data sets, with the digests of their files."""
    names = dict.fromkeys(Cell.parse(cell).dataset for cell in records)
    found = []
    for name in names:
        path = layout.data(name) / "manifest.json"
        try:
            counts = read_json(path)["counts"]
        except (Refused, KeyError, TypeError):
            continue
        counted = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        title = plan.config["datasets"][name]["label"]
        found.append({"name": title, "counts": counted, "digest": digest(path)[:16]})
    return found


def _data(
    plan: Plan,
    items: list[Any],
    shown: list[dict[str, Any]],
    records: Mapping[str, Mapping[str, Any]],
    layout: Layout,
    source: Source,
    folder: Path,
) -> dict[str, Any]:
    """What scripts draw from."""
    teachers = dict.fromkeys(
        cell.run(seed)
        for item in items
        if "responses" in item.needs
        for cell, seed in item.analysed
    )
    inputs = (
        [] if source.reference else [page_inputs.describe(plan, run, layout) for run in teachers]
    )
    return {
        "scale": plan.scale,
        "steps": CURVES,
        "words": {name: word._asdict() for name, word in vocabulary.WORDS.items()},
        "cells": {
            name: _cell(plan, name, record, shown, folder) for name, record in records.items()
        },
        "items": [
            {name: item[name] for name in ("name", "number", "title", "paper", "claims", "numbers")}
            for item in shown
        ],
        "inputs": [one for one in inputs if one],
    }


def _cell(
    plan: Plan, name: str, record: Mapping[str, Any], shown: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """Of one cell: what is the same for all seeds, and each seed."""
    settings, cell = plan.settings(Cell.parse(name)), Cell.parse(name)
    labels = _labels(plan)
    parts = [label(labels, kind, getattr(cell, kind)) for kind in ("method", "network", "dataset")]
    teacher = settings.teacher
    seeds = []
    for run in record["seeds"]:
        kept = {
            key: run[key] for key in run if key not in ("settings", "versions", "folder", "differs")
        }
        kept["folder"] = os.path.relpath(run["folder"], folder)
        kept["stale"] = caveats.of_settings(run.get("differs", ()), labels, "config")
        seeds.append(kept)
    differs = next((item["differs"][name] for item in shown if name in item["differs"]), [])
    trained = settings.recipe is not None
    verb = "train" if trained else "import_weights"
    return {
        "label": " · ".join(parts),
        "method": parts[0],
        "place": " · ".join(parts[1:]),
        "seeds": seeds,
        "wanted": record["wanted"],
        "recipe": _plain(settings.recipe) if trained else None,
        "options": settings.method.options,
        "teacher": None if teacher is None else {"cell": str(teacher.cell), "seed": teacher.seed},
        "differs": caveats.of_settings(differs, labels),
        "items": [item["name"] for item in shown if any(name == n for n in _cells(item))],
        "command": f"xkd {verb} {name} --set scale={plan.scale}",
    }


def _cells(item: Mapping[str, Any]) -> Iterable[str]:
    return (one["cell"] for row in item["numbers"]["rows"] for one in row["cells"] if one)


def _plain(recipe: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(recipe).items() if value not in (None, (), False)}


def _labels(plan: Plan) -> dict[str, dict[str, str]]:
    return {
        "datasets": {name: entry["label"] for name, entry in plan.config["datasets"].items()},
        "networks": {name: entry["label"] for name, entry in plan.config["networks"].items()},
        "methods": {name: entry["label"] for name, entry in plan.resolver.methods.items()},
    }


def _packed(content: Any) -> str:
    """JSON, deflated, in letters that need no escaping in HTML."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
