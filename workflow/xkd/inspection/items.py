"""Tables and figures described: files, numbers, the runs behind them."""

import csv
from pathlib import Path

from xkd.inspection.arrays import damaged
from xkd.inspection.target import Target
from xkd.inspection.text import Description
from xkd.plan import jobs
from xkd.plan.grid import Item
from xkd.wording import percent, size, span

SHOWN = 16  # rows
FRACTIONS = ("top1", "best_top1", "train_top1", "error", "best_error")


def describe(target: Target) -> Description:
    """An item or one of its files: title, protocol, numbers, cells, claims, the command.

    Raises: Refused when its CSV is damaged.
    """
    item, layout = target.item, target.layout
    claims = target.path.stem.endswith("_claims")
    found = Description(
        f"{item.paper['label']} {item.entry['number']}: {item.entry['title']} ({layout.root.name})",
        str(target.path),
    )
    forms = {form: Path(path) for form, path in layout.item(item.kind, item.name).items()}
    there = [f"{form} {size(path.stat().st_size)}" for form, path in forms.items() if path.exists()]
    found.add("files", ", ".join(there) or "not drawn yet")
    found.add("protocol", jobs.protocol(item))
    csv_file = target.path if claims and target.path.suffix == ".csv" else forms["csv"]
    if csv_file.exists():
        rows = read_rows(csv_file)
        found.add("numbers", _claims(rows) if claims else _numbers(rows))
    found.add("rests on", _runs(target, item))
    needs = ", ".join(item.needs)
    found.add("analyses", needs)
    if item.claims and not claims:
        found.add("claims", [str(claim.get("says", "")) for claim in item.claims])
    found.add("remake", f"snakemake {item.name}{target.option_of_snakemake}")
    found.add("more", f"xkd trace {item.name}{target.option}")
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of an item's CSV. Raises Refused when it is damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a line has too many or too few fields")
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as problem:
        raise damaged(path, problem) from None
    return rows


def measure(row: dict[str, str]) -> str:
    """What a row's number is: of a metric, or of a measure of explanations; accuracy, if unsaid."""
    return row.get("measure") or row.get("metric") or "top1"


def number(row: dict[str, str]) -> str:
    """A row's number as tables print it: accuracy in percent, anything else as it is."""
    text = row.get("mean", "")
    if not text:
        return "-"
    spread, metric = row.get("std", ""), measure(row)
    if metric in FRACTIONS:
        return percent(float(text)) + (f" ± {percent(float(spread))}" if spread else "") + " %"
    return f"{float(text):.4g}" + (f" ± {float(spread):.2g}" if spread else "")


def shown(metric: str, value: float) -> str:
    """One run's number."""
    return number({"metric": metric, "mean": str(value)})


def _numbers(rows: list[dict[str, str]]) -> list[str]:
    if not rows or "mean" not in rows[0]:
        return [f"{len(rows)} rows: {', '.join(rows[0]) if rows else 'none'}"]
    shown = rows[:SHOWN]
    width = max(len(_identity(row)) for row in shown)
    lines = [f"{_identity(row):{width}}  {number(row):>16}  {_printed(row)}" for row in shown]
    more = [f"and {len(rows) - SHOWN} more rows"] if len(rows) > SHOWN else []
    return [line.rstrip() for line in lines] + more


def _identity(row: dict[str, str]) -> str:
    named = [row[k] for k in ("section", "dataset", "network", "method", "teacher") if row.get(k)]
    named += [f"{k} {row[k]}" for k in ("kind", "gamma") if row.get(k)]
    named += [row["metric"]] if row.get("metric", "top1") != "top1" else []
    return " ".join(named)


def _printed(row: dict[str, str]) -> str:
    return f"published {row['published']}" if row.get("published") else ""


def _claims(rows: list[dict[str, str]]) -> list[str]:
    return [
        f"claim {row['claim']}: {row['better']} > {row['than']} "
        f"{row.get('network') or 'mean'}: {row['verdict']}"
        for row in rows
    ]


def _runs(target: Target, item: Item) -> list[str]:
    """Its cells with their seeds, and how many of them are there."""
    plan, layout = target.plan, target.layout
    rows = []
    for cell, seeds in item.runs[:12]:
        there = sum((layout.run(cell.run(seed)) / "run.yaml").exists() for seed in seeds)
        rows.append(f"{cell!s:56} {span(seeds)}: {there} of {len(seeds)} there")
    if len(item.runs) > 12:
        rows.append(f"and {len(item.runs) - 12} more cells")
    everything = {run.cell for run in plan.trainings(item)} - set(item.cells)
    if everything:
        rows.append(f"and {len(everything)} cells of teachers and trials")
    return rows
