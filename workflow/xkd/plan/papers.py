"""Paper folders: `paper.yaml`, `published/`, `tables/`, `figures/`, laid into one config.

A folder is named in `papers:` of the config, by its name in `workflow/papers/` or by a path. Its
sections add entries to those of the config and of the papers before it; a name that exists already
is refused, except in `scales`, whose overlays are merged.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.fingerprint import PACKAGE
from xkd.plan.runs import NAME
from xkd.plan.validation import validate
from xkd.plan.yaml_reader import parse

FOLDER = PACKAGE.parent / "papers"
FILE = "paper.yaml"
ABOUT = ("title", "label", "citation", "url", "trials")
SECTIONS = (
    "datasets", "networks", "recipes", "methods", "checkpoints", "teachers", "experiments",
    "analyses", "tables", "figures", "scales",
)  # fmt: skip
ITEMS = ("tables", "figures")


def lay_in(
    config: dict[str, Any],
    names: Any,
    root: Path,
    file: str,
    schema: Mapping[str, Any],
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Add the sections of papers to a config, which is changed.

    Args:
        names: of the papers, in order; root: that relative paths start from.
        file: name of the config, for messages; schema: of a `paper.yaml`.
    Returns: paper -> what `ABOUT` names, and its folder; and place in the config -> the
        `paper.yaml` in which it was written.
    Raises: Refused for a folder that is none, and for a name that exists already.
    """
    if not isinstance(names, Sequence) or isinstance(names, str):
        raise Refused(f"{file}: papers: found {names!r}, expected a list of names or folders")
    papers: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for name in names:
        folder = _folder(str(name), root, file)
        if folder.name in papers:
            raise Refused(f"{file}: papers: found two folders called '{folder.name}'; rename one")
        source = shown(folder / FILE)
        content = validate(parse((folder / FILE).read_text("utf-8"), source), schema, source)
        about = {key: content[key] for key in ABOUT if key in content}
        papers[folder.name] = {**about, "folder": shown(folder)}
        _add(config, content, folder.name, source, file, origins)
    return papers, origins


def without_absent(changes: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """`changes` without what they change of papers in `workflow/papers/` that are not asked for.

    So one overlay serves any selection of papers. An entry with a label of its own is no change of
    theirs, and stays.

    Args:
        changes: section -> name -> entry, of an overlay; names: of the papers that were laid in.
    """
    left = dict(changes)
    for path in sorted(FOLDER.glob(f"*/{FILE}")) if changes else ():
        if path.parent.name in names:
            continue
        theirs = parse(path.read_text("utf-8"), shown(path))
        for section in set(SECTIONS) & left.keys() & theirs.keys() - {"scales"}:
            if isinstance(left[section], Mapping):
                left[section] = {
                    name: entry
                    for name, entry in left[section].items()
                    if not _changes(entry, theirs[section].get(name))
                }
    return left


def _changes(entry: Any, whole: Any) -> bool:
    """Whether an entry says too little to stand for itself, as an experiment without items does."""
    if isinstance(entry, list) and isinstance(whole, list):
        return True
    both = isinstance(entry, Mapping) and isinstance(whole, Mapping)
    return both and "label" not in entry and entry.keys() < whole.keys()


def _folder(name: str, root: Path, file: str) -> Path:
    """The folder that an entry of `papers` means."""
    path = Path(name).expanduser()
    inside = len(path.parts) == 1 and not (root / path / FILE).is_file()
    folder = (FOLDER / path if inside else root / path).resolve()
    if not (folder / FILE).is_file():
        known = sorted(path.parent.name for path in FOLDER.glob(f"*/{FILE}"))
        if inside:
            raise Refused(
                f"{file}: papers: {unknown('paper', name, known)}, or a folder with {FILE}"
            )
        raise Refused(f"{file}: papers: {name} has no {FILE}; write one, or name another folder")
    if not re.fullmatch(NAME, folder.name):
        raise Refused(
            f"{file}: papers: found a folder called '{folder.name}', expected a name of lower-case "
            "letters, digits, '_' and '.'"
        )
    return folder


def shown(path: Path) -> str:
    """A path below the working folder is relative to it, so that the project may be moved."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _add(
    config: dict[str, Any],
    content: Mapping[str, Any],
    paper: str,
    source: str,
    file: str,
    origins: dict[str, str],
) -> None:
    for section in SECTIONS:
        entries = deepcopy(content.get(section, {}))
        if section == "scales":
            for scale, overlay in entries.items():
                _merge(config.setdefault(section, {}).setdefault(scale, {}), overlay)
            continue
        known = config.setdefault(section, {})
        others = [known] if section not in ITEMS else [config.get(kind, {}) for kind in ITEMS]
        for name, entry in entries.items():
            place = f"{section}.{name}"
            if any(name in other for other in others):
                first = next((origins[p] for p in _twins(section, name) if p in origins), file)
                raise Refused(
                    f"{source}: {place}: {first} has an entry of this name already; choose another"
                )
            if section in ITEMS:
                entry = {"paper": paper, **entry}
            known[name] = entry
            origins[place] = source


def _twins(section: str, name: str) -> list[str]:
    return [f"{kind}.{name}" for kind in (ITEMS if section in ITEMS else (section,))]


def _merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value
