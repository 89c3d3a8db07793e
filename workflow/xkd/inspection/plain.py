"""Readers of files of a common form: tables, JSON, YAML, text, pictures, locks."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xkd.files import parse_yaml, read_json
from xkd.inspection.arrays import damaged
from xkd.inspection.target import Target
from xkd.inspection.text import Description
from xkd.monitor import traces


def any_csv(target: Target, found: Description) -> None:
    content = rows(target.path)
    found.add("rows", str(len(content)))
    found.add("columns", ", ".join(content[0]) if content else "none")


def any_json(target: Target, found: Description) -> None:
    content = read_json(target.path, sealed=False)
    _add_keys(found, content)


def any_yaml(target: Target, found: Description) -> None:
    _add_keys(found, parse_yaml(target.path.read_text(encoding="utf-8")))


def _add_keys(found: Description, content: Any) -> None:
    if not isinstance(content, Mapping):
        found.add(
            "content",
            f"{type(content).__name__} of {len(content)}"
            if isinstance(content, list)
            else str(content)[:80],
        )
        return
    found.add(
        "keys",
        [
            f"{key:16} {json.dumps(value, ensure_ascii=False, default=str)[:76]}"
            for key, value in content.items()
        ],
    )


def lock(target: Target, found: Description) -> None:
    holder = traces.holder(target.path)
    found.add(
        "lock",
        f"process {holder['pid']} on {holder['host']}, alive"
        if holder
        else "void: nobody holds it",
    )


def text(target: Target, found: Description) -> None:
    lines = target.path.read_text(encoding="utf-8", errors="replace").splitlines()
    found.add("lines", str(len(lines)))
    found.add("last", next((line for line in reversed(lines) if line.strip()), None))


def picture(target: Target, found: Description) -> None:
    content = target.path.read_bytes()[:24]
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise damaged(target.path, "no PNG")
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    found.add("picture", f"{width} x {height} pixels")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
