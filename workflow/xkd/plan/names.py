"""What cells and items are called where people read of them, by the labels of the config."""

from xkd.plan.grid import Plan
from xkd.plan.items import Item
from xkd.plan.runs import Cell


def title(plan: Plan, cell: Cell) -> str:
    """`LE(Grad-CAM) · ResNet14/2 · Digits`, with teacher and trial where there are any."""
    named = plan.resolver.methods.get(cell.method, {})
    parts = [
        named.get("label", cell.method),
        plan.config["networks"].get(cell.network, {}).get("label", cell.network),
        plan.config["datasets"].get(cell.dataset, {}).get("label", cell.dataset),
    ]
    if cell.teacher:
        parts.append(f"taught by {cell.teacher}")
    if cell.trial:
        parts.append(f"{cell.trial}, without the hold-out images")
    return " · ".join(parts)


def name(item: Item) -> str:
    """The name of an item, and what its paper calls it."""
    return f"{item.name} ({item.paper['label']} {item.entry['number']})"
