"""Two hundred random mistakes in the config: each is refused by name in one line, or harmless."""

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from xkd import __main__ as xkd
from xkd.errors import Refused
from xkd.plan import config as conf
from xkd.plan.grid import Plan

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MUTATIONS = 200
Place = tuple[Any, ...]


def places(content: Any, *path: Any) -> Iterator[Place]:
    """Paths of everything in the config."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, *path, key)


def misspelt(word: str, draw: random.Random) -> str:
    """One letter doubled, dropped, changed, or swapped with the next."""
    at = draw.randrange(len(word))
    swapped = word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]
    others = (
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1 :],
        word[:at] + "q" + word[at + 1 :],
        swapped,
    )
    return draw.choice([other for other in others if other != word] or [f"{word}q"])


def misspell_a_key(parent: Any, key: Any, draw: random.Random) -> bool:
    if not isinstance(key, str):
        return False
    order = list(parent.items())
    parent.clear()
    wrong = misspelt(key, draw)
    parent.update((wrong if name == key else name, value) for name, value in order)
    return True


def misspell_a_value(parent: Any, key: Any, draw: random.Random) -> bool:
    if not isinstance(parent[key], str) or not parent[key]:
        return False
    parent[key] = misspelt(parent[key], draw)
    return True


def change_a_type(parent: Any, key: Any, draw: random.Random) -> bool:
    wrong = ["fast", [], {}, None, [["a"]], {"b": 1}, True]
    parent[key] = draw.choice([other for other in wrong if type(other) is not type(parent[key])])
    return True


def leave_the_range(parent: Any, key: Any, draw: random.Random) -> bool:
    value = parent[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    parent[key] = draw.choice([-1, -0.5, math.inf, -math.inf, math.nan])
    return True


def close_a_circle(parent: Any, key: Any, draw: random.Random) -> bool:
    """Some teacher is taught, in the end, by itself."""
    parent[key].update(method="kd", teacher=key)
    return True


KINDS: tuple[Callable[[Any, Any, random.Random], bool], ...] = (
    misspell_a_key,
    misspell_a_value,
    change_a_type,
    leave_the_range,
    close_a_circle,
)


def mutation(number: int) -> tuple[str, Place, dict]:
    """Kind, place and the config that results; the same for a number on every machine."""
    draw = random.Random(number)
    everywhere = list(places(CONFIG))
    while True:
        kind, place = KINDS[number % len(KINDS)], draw.choice(everywhere)
        if kind is close_a_circle:
            place = ("teachers", draw.choice(list(CONFIG["teachers"])))
        config = deepcopy(CONFIG)  # anchors in the file are shared; a mistake is made in one place
        parent = config
        for key in place[:-1]:
            parent = parent[key]
        if kind(parent, place[-1], draw):
            return kind.__name__, place, config


@pytest.fixture(scope="module")
def sound() -> Plan:
    return Plan(conf.effective(deepcopy(CONFIG)))


def work(plan: Plan) -> list:
    """All that a plan trains, and the runs that it shows in every item."""
    trained = [(cell, s.slice(), s.seeds, s.search) for cell, s in plan.cells.items()]
    return [trained, {name: item.runs for name, item in plan.items.items()}]


@pytest.mark.parametrize("number", range(MUTATIONS))
def test_a_mistake_is_refused_by_name_or_harmless(number: int, sound: Plan) -> None:
    kind, place, config = mutation(number)
    try:
        found = Plan(conf.effective(config))
    except Refused as problem:
        message = str(problem)
        assert message.startswith("config.yaml: ")
        assert "\n" not in message
        named = [str(part) for part in place if str(part) in message]
        assert named, f"{kind} at {place}: {message}"
    else:
        assert work(found) == work(sound), f"{kind} at {place} changes what is trained"


def test_what_is_refused_starts_no_training(tmp_path: Path, capsys) -> None:
    file, results = tmp_path / "config.yaml", tmp_path / "results"
    told = []
    for number in range(0, MUTATIONS, 19):
        kind, place, config = mutation(number)
        with contextlib.suppress(Refused):
            Plan(conf.effective(deepcopy(config)))
            continue  # harmless
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        asked = ["train", "digits/mlp256/ce", "--config", str(file), "--results", str(results)]
        assert xkd.main(asked) == 2, f"{kind} at {place}"
        told += capsys.readouterr().err.splitlines()
        assert not results.exists()
    assert len(told) >= 7
