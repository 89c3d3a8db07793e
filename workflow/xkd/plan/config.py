"""The effective config: every mistake becomes one line, before anything is computed.

In order of precedence, the later winning: config.yaml with its papers, the overlay of the scale,
files and then values of the command line. Imports no torch: Snakemake reads this at every start.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from xkd.errors import Refused, unknown
from xkd.files import read_json, write_json
from xkd.fingerprint import PACKAGE
from xkd.plan import papers
from xkd.plan.validation import validate
from xkd.plan.yaml_reader import parse

SCHEMAS = PACKAGE.parent / "schemas"
CONFIG = "config.yaml"
COMMAND_LINE = "the command line"
#: Added to what the files say: `papers` as a mapping, and which file wrote a section's entry.
ADDED = ("papers", "origins")


def load(
    path: Path,
    settings: Iterable[str] = (),
    overlays: Iterable[Path] = (),
    values: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """The effective, checked config of a file.

    Args:
        path: of a config.yaml; or of a `.json` that `freeze` wrote, which has been checked already.
        settings: `key=value` in YAML, from the command line of `xkd`.
        overlays: further files, each laid over what stands before it.
        values: laid over all of them, from the command line of Snakemake.
    Raises: Refused with file, key, found, expected.
    """
    path = Path(path)
    if path.suffix == ".json" and path.exists():
        return read_json(path)
    config = _read(path)
    layers = [(str(file), _read(Path(file))) for file in overlays]
    layers.append((COMMAND_LINE, merge(_nested(settings), values)))
    return effective(config, layers, str(path), path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"{path} is missing; run from the project's folder, or name it") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Refused(f"{path} cannot be read: {problem}") from None
    content = parse(text, str(path))
    if not isinstance(content, Mapping):
        raise Refused(f"{path}: found {type(content).__name__}, expected a mapping of settings")
    return dict(content)


def _nested(settings: Iterable[str]) -> dict[str, Any]:
    """`["recipes.r_res.epochs=2"]` as `{"recipes": {"r_res": {"epochs": 2}}}`."""
    found: dict[str, Any] = {}
    for item in settings:
        key, equals, value = item.partition("=")
        if not equals:
            raise Refused(f"'{item}': expected key=value, for example scale=paper")
        content = parse(value, f"'{item}'")
        for part in reversed(key.split(".")):
            content = {part: content}
        merge(found, content)
    return found


def typed(value: Any) -> Any:
    """Numbers and truth values back from the strings that Snakemake makes of nested `--config`."""
    if isinstance(value, Mapping):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [typed(item) for item in value]
    return parse(value, f"--config '{value}'") if isinstance(value, str) else value


def effective(
    config: Mapping[str, Any],
    layers: Iterable[tuple[str, Mapping[str, Any]]] = (),
    name: str = CONFIG,
    folder: Path = Path(),
) -> dict[str, Any]:
    """A config with its papers, its scale and these layers, checked.

    Args:
        layers: where a change was written, and the change.
        name: of the file, for messages; folder: that relative paths of papers start from.
    Raises: Refused with file, key, found, expected.
    """
    layers = list(layers)
    asked = config["papers"]
    for _, layer in layers:
        asked = layer.get("papers", asked)
    validate(config, schema("config"), name)  # also what the scale is going to hide
    whole = deepcopy(dict(config))
    found, origins = papers.lay_in(whole, asked, folder, name, schema("paper"))
    whole.pop("papers")
    changes: dict[str, Any] = {}
    for source, layer in layers:
        here = layer if source == COMMAND_LINE else papers.without_absent(layer, found)
        merge(changes, {key: value for key, value in here.items() if key != "papers"})
        origins |= dict.fromkeys(_places(here), source)
        origins |= dict.fromkeys(_new(here, whole), source)
    merge(whole, changes)
    scales = whole["scales"]
    if whole["scale"] not in scales:
        raise Refused(f"{name}: scale: {unknown('scale', whole['scale'], scales)}")
    overlay = {k: v for k, v in scales[whole["scale"]].items() if k != "replace"}
    for experiment in overlay.get("experiments", {}):
        if experiment not in whole["experiments"]:
            place = ("scales", whole["scale"], "experiments", experiment)
            reason = unknown("experiment", experiment, whole["experiments"])
            raise Refused(f"{origin(origins, name, *place)}: {'.'.join(place[:-1])}: {reason}")
    merge(merge(whole, overlay), changes)
    checked = {**whole, "papers": list(found)}
    checked = validate(checked, schema("config"), lambda *place: origin(origins, name, *place))
    return {**checked, "papers": found, "origins": origins}


def origin(origins: Mapping[str, str], name: str, *where: str) -> str:
    """The file in which a place of the config was written, `name` unless known otherwise."""
    parts = ".".join(map(str, where)).split(".")
    for length in range(len(parts), 0, -1):
        if (place := ".".join(parts[:length])) in origins:
            return origins[place]
    return name


def _places(layer: Mapping[str, Any], *where: str) -> Iterable[str]:
    """Dotted places of all values that a layer sets."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and value:
            yield from _places(value, *where, str(key))
        else:
            yield ".".join([*where, str(key)])


def _new(layer: Mapping[str, Any], config: Mapping[str, Any]) -> Iterable[str]:
    """Places of entries that a layer adds to the sections of a config."""
    for section, entries in layer.items():
        if isinstance(entries, Mapping) and isinstance(config.get(section, {}), Mapping):
            yield from (f"{section}.{n}" for n in entries if n not in config.get(section, {}))


def merge(base: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `overlay` over `base`, mapping by mapping; anything else is replaced. Changes `base`."""
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict) and "by" not in value:
            merge(base[key], value)
        else:
            base[key] = deepcopy(value)
    return base


def freeze(config: Mapping[str, Any], folder: Path) -> Path:
    """Write the effective config for the jobs, under its own digest, so that it never changes."""
    text = json.dumps(config, ensure_ascii=False, sort_keys=False)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_json(path, config)
    return path


def export(path: Path) -> None:
    """Let the jobs of this process, on whatever machine, find the frozen config."""
    os.environ["XKD_CONFIG"] = str(path)


def exported() -> Path | None:
    """The frozen config of the process that started this one, if one did."""
    return Path(os.environ["XKD_CONFIG"]) if "XKD_CONFIG" in os.environ else None


def look_up(value: Any, names: Mapping[str, str]) -> Any:
    """`{by: network, resnet20: 0.2, default: 0.5}`, at any depth, resolved for one cell.

    Args:
        names: dataset, network and teacher (its network) of the cell.
    Raises: Refused when neither the name nor `default` is there.
    """
    if not isinstance(value, Mapping):
        return value
    if "by" not in value:
        return {key: look_up(item, names) for key, item in value.items()}
    if value["by"] not in ("dataset", "network", "teacher"):
        raise Refused(f"by: found {value['by']!r}, expected one of dataset, network, teacher")
    name = names.get(value["by"], "")
    for key in (name, "default"):
        if key in value:
            return look_up(value[key], names)
    raise Refused(f"no value for {value['by']} '{name}', and no default")


@cache
def schema(name: str) -> dict[str, Any]:
    """`config`, or `paper`, whose definitions and sections are those of the config."""
    text = (SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8")
    content = parse(text, f"{name}.schema.yaml")
    if name == "paper":
        shared = schema("config")
        content["$defs"] = shared["$defs"]
        content["properties"] |= {key: shared["properties"][key] for key in papers.SECTIONS}
    return content
