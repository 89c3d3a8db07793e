"""From a number of a table to the runs, seeds, settings and equation behind it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from xkd.errors import Refused
from xkd.files import read_json
from xkd.inspection import items
from xkd.inspection.equation import equation
from xkd.inspection.text import Description
from xkd.plan import names
from xkd.plan.grid import Item, Plan
from xkd.plan.runs import Cell, Layout, Run
from xkd.plan.settings import CellSettings
from xkd.wording import settings, span

IDENTITY = ("dataset", "network", "method", "teacher")
ERRORS = {"error": "top1", "best_error": "best_top1"}  # 1 − accuracy
#: Columns that tell numbers of one cell apart.
APART = ("explanation", "measure", "split", "space", "labels", "kind", "gamma")
LISTED = 60  # numbers in an item's list

Row = Mapping[str, str]


@dataclass(frozen=True)
class Number:
    """A number of an item: its row of the CSV, the cell and seeds that it is made of."""

    row: Row
    cell: Cell | None
    seeds: tuple[int, ...]

    @property
    def metric(self) -> str:
        return items.measure(self.row)

    @property
    def trained(self) -> bool:
        """Whether it comes from the runs themselves, and from no analysis of them."""
        method = self.row.get("method", "")
        return self.cell is not None and (not self.row.get("network") or method == self.cell.method)


def numbers(plan: Plan, item: Item, layout: Layout) -> list[Number]:
    """Every number of an item; before it is drawn, those that it is going to show."""
    path = Path(layout.item(item.kind, item.name)["csv"])
    rows = items.read_rows(path) if path.exists() else []
    if not any("mean" in row for row in rows):
        rows = [{name: getattr(cell, name) or "" for name in IDENTITY} for cell in item.cells]
    found = []
    for row in rows:
        cell = cell_of(plan, item, row)
        found.append(Number(row, cell, seeds_of(plan, item, cell)))
    return found


def cell_of(plan: Plan, item: Item, row: Row) -> Cell | None:
    """The cell that a row is about: one that the item shows, or a teacher of one.

    Tables name a teacher by its network where one method trained them all, and rows about
    reinforced images have the reinforcement in place of the method.
    """
    if not row.get("network"):  # a teacher's own accuracy
        taught = [plan.cells[cell].teacher for cell in item.cells]
        teachers = [teacher.cell for teacher in taught if teacher]
        return next((cell for cell in teachers if _is_teacher(cell, row)), None)
    place = [cell for cell in item.cells if _in_place(cell, row)]
    if row.get("method") not in plan.resolver.methods:
        return place[0] if place else None
    found = [cell for cell in place if cell.method == row["method"] and _taught_by(cell, row)]
    return found[0] if len(found) == 1 else None


def _is_teacher(cell: Cell, row: Row) -> bool:
    same = row.get("teacher") in (cell.slug, cell.network)
    return same and cell.dataset == row.get("dataset", cell.dataset)


def _in_place(cell: Cell, row: Row) -> bool:
    return all(getattr(cell, name) == row[name] for name in ("dataset", "network") if row.get(name))


def _taught_by(cell: Cell, row: Row) -> bool:
    """Whether a row's teacher is the cell's; a table of one teacher need not name it."""
    slug = cell.teacher or ""
    return not row.get("teacher") or row["teacher"] in (slug, slug.partition("-")[0])


def seeds_of(plan: Plan, item: Item, cell: Cell | None) -> tuple[int, ...]:
    """Seeds of a cell that an item shows; all of a teacher's."""
    if cell is None:
        return ()
    return dict(item.runs).get(cell) or plan.cells[cell].seeds


def chosen(plan: Plan, found: list[Number], words: Iterable[str]) -> list[Number]:
    """The numbers that fit all words, each a name or a printed label of a row or column.

    Raises: Refused, with the nearest known word, when one fits no row.
    """
    for word in words:
        known = {name for number in found for name in _names(plan, number)}
        if word.lower() not in known:
            near = get_close_matches(word.lower(), sorted(known), n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise Refused(
                f"no row or column is called '{word}'; {hint}known: {', '.join(sorted(known))}"
            )
        found = [number for number in found if word.lower() in _names(plan, number)]
    return found


def _names(plan: Plan, number: Number) -> set[str]:
    """What a number may be called by, in small letters: names and labels of all its fields."""
    names = set()
    for field, known in (
        ("dataset", plan.config["datasets"]),
        ("network", plan.config["networks"]),
        ("method", plan.resolver.methods),
        ("teacher", plan.config["networks"]),
    ):
        if value := number.row.get(field):
            entry = known.get(value.partition("-")[0] if field == "teacher" else value, {})
            names |= {value, entry.get("label", value)}
    names |= {number.row[k] for k in ("section", "metric", "gamma") if number.row.get(k)}
    return {name.lower() for name in names}


def describe_item(plan: Plan, item: Item, layout: Layout, option: str = "") -> Description:
    """All numbers of an item with the cell behind each."""
    found = Description(f"{names.name(item)}: {item.entry['title']}", str(layout.root))
    rows = numbers(plan, item, layout)
    width = max((len(row.row.get("method", "")) for row in rows), default=0)
    lines, section = [], None
    for number in rows[:LISTED]:
        row = number.row
        if row.get("section") != section:
            section = row.get("section")
            lines.append(f"{section}:")
        column = row.get("network") or row.get("teacher", "")
        apart = " ".join(row[name] for name in APART if row.get(name))
        lines.append(
            f"{row.get('method', ''):{width}}  {column:16} {items.number(row):>15}  "
            f"{number.cell or '-'}  {apart}".rstrip()
        )
    if len(rows) > LISTED:
        lines.append(f"and {len(rows) - LISTED} more")
    found.add("numbers", lines)
    first = next((number.row for number in rows if number.row.get("network")), None)
    if first:
        words = f"{first.get('method', '')} {first['network']}"
        found.add("more", f"xkd trace {item.name} {words}{option}")
    return found


def describe_number(plan: Plan, item: Item, layout: Layout, number: Number) -> Description:
    """One number: the runs and seeds it is the mean of, their settings, the method's equation."""
    row, cell = number.row, number.cell
    found = Description(f"{names.name(item)}: {_what(row)}", str(layout.root))
    found.add("number", f"{number.metric} {items.number(row)}")
    if row.get("published"):
        spread = f" ± {row['published_std']}" if row.get("published_std") else ""
        found.add("published", f"{row['published']}{spread} {row.get('note', '')}".strip())
    if cell is None:
        found.add("cell", "no single cell: the number is about several")
        return found
    wanted = plan.cells[cell]
    found.add("cell", f"{cell}, {span(number.seeds)}")
    runs, values = _runs(layout, number)
    found.add("runs", runs)
    found.add("recomputed", recomputed(row, values))
    if item.needs:
        seeds = [seed for one, seed in item.analysed if one == cell]
        places = [layout.analysis(n, cell.run(seed)) for n in item.needs for seed in seeds]
        found.add("analyses", [str(place) for place in places])
    _add_settings(found, plan, wanted)
    if wanted.weights is None:
        found.add("equation", equation(wanted.method.uses))
    found.add("remake", f"xkd train {cell}; snakemake {item.name}")
    return found


def _what(row: Row) -> str:
    fields = ("section", "method", "network", "dataset", "teacher", "kind", "gamma")
    return ", ".join(f"{row[name]}" for name in fields if row.get(name))


def _runs(layout: Layout, number: Number) -> tuple[list[str], list[float]]:
    """A line per seed, and the numbers of those that are there."""
    lines, values = [], []
    for seed in number.seeds:
        folder = layout.run(Run(number.cell, seed))
        value = _value(folder, number.metric) if number.trained else None
        shown = "there" if (folder / "run.yaml").exists() else "not there yet"
        if value is not None:
            values.append(value)
            shown = items.shown(number.metric, value)
        lines.append(f"seed {seed}  {shown:>10}  {folder}")
    return lines, values


def _value(folder: Path, metric: str) -> float | None:
    """A metric of one run, None where it is not one of training's."""
    try:
        found = read_json(folder / "metrics.json")
    except Refused:
        return None
    base = ERRORS.get(metric, metric)
    if base not in found:
        return None
    return 1 - found[base] if metric in ERRORS else found[base]


def recomputed(row: Row, values: list[float]) -> str | None:
    """Mean and s.d. of the runs as they are now, and whether the table still says so."""
    if not values or not row.get("mean"):
        return None
    again = {"metric": row.get("metric") or "top1", "mean": str(fmean(values))}
    if len(values) > 1:
        again["std"] = str(stdev(values))
    same = abs(fmean(values) - float(row["mean"])) < 1e-9
    verdict = "as drawn" if same else "not as drawn: draw the item again"
    return f"{items.number(again)} over {len(values)} runs, {verdict}"


def _add_settings(found: Description, plan: Plan, wanted: CellSettings) -> None:
    """Settings, each with the place in the config where it is given."""
    recipe, method = wanted.recipe, wanted.method
    if recipe:
        shown = {key: value for key, value in vars(recipe).items() if key != "name" and value != ()}
        found.add("recipe", f"recipes.{recipe.name}: {settings(shown)}")
    searched = f"; {wanted.search.option} is searched" if wanted.search else ""
    found.add("method", f"methods.{method.name}: {settings(method.options)}{searched}")
    network = wanted.network
    found.add("network", f"networks.{network.name}: {settings(network.options)}")
    data = wanted.dataset
    found.add(
        "data",
        f"datasets.{data.name}: {data.source}, {data.classes} classes, {data.size}x{data.size}",
    )
    if wanted.teacher:
        seed = wanted.teacher.seed
        whose = "the student's seed" if seed is None else f"seed {seed}"
        found.add("teacher", f"{wanted.teacher.cell}, {whose}")


def payload(number: Number) -> dict[str, Any]:
    """A number as JSON."""
    return {"cell": str(number.cell), "seeds": list(number.seeds), "row": dict(number.row)}
