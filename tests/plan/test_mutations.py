"""Two hundred random mistakes in config and papers: each is refused by name, or harmless."""

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
from xkd.plan import papers
from xkd.plan.grid import Plan
from xkd.plan.yaml_reader import parse

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted(path.parent for path in papers.FOLDER.glob("*/paper.yaml"))
#: File -> its content.
FILES = {
    "config.yaml": parse((ROOT / "config.yaml").read_text(encoding="utf-8"), "config.yaml"),
    **{f"{p.name}/paper.yaml": parse((p / "paper.yaml").read_text("utf-8"), "") for p in PAPERS},
}
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
    """Kind, file and place, and the file that results; for a number the same on every machine."""
    draw = random.Random(number)
    everywhere = [(file, *place) for file, content in FILES.items() for place in places(content)]
    taught = [file for file, content in FILES.items() if content.get("teachers")]
    while True:
        kind, place = KINDS[number % len(KINDS)], draw.choice(everywhere)
        if kind is close_a_circle:
            file = draw.choice(taught)
            place = (file, "teachers", draw.choice(list(FILES[file]["teachers"])))
        content = deepcopy(FILES[place[0]])
        parent = content
        for key in place[1:-1]:
            parent = parent[key]
        if kind(parent, place[-1], draw):
            return kind.__name__, place, content


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config with all papers beside it, whose scripts and numbers are the project's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").symlink_to(ROOT / "config.yaml")
    for paper in PAPERS:
        (tmp_path / paper.name).mkdir()
        for path in paper.iterdir():
            (tmp_path / paper.name / path.name).symlink_to(path)
    return tmp_path


def spoil(file: str, content: dict) -> None:
    Path(file).unlink()
    Path(file).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@pytest.fixture(scope="module")
def sound() -> list:
    return work(Plan(conf.load(ROOT / "config.yaml")))


def work(plan: Plan) -> list:
    """All that a plan trains, and the runs that it shows in every item."""
    trained = [(cell, s.slice(), s.seeds, s.search) for cell, s in plan.cells.items()]
    return [trained, {name: item.runs for name, item in plan.items.items()}]


@pytest.mark.parametrize("number", range(MUTATIONS))
def test_a_mistake_is_refused_by_name_or_harmless(number: int, sound: list, folder: Path) -> None:
    kind, place, content = mutation(number)
    spoil(place[0], content)
    try:
        found = Plan(conf.load(Path("config.yaml")))
    except Refused as problem:
        message = str(problem)
        assert message.partition(":")[0] in FILES, message
        assert "\n" not in message
        named = [str(part) for part in place if str(part) in message]
        assert named, f"{kind} at {place}: {message}"
    else:
        assert work(found) == sound, f"{kind} at {place} changes what is trained"


def test_what_is_refused_starts_no_training(folder: Path, capsys) -> None:
    results, told = folder / "results", []
    for number in range(0, MUTATIONS, 19):
        kind, place, content = mutation(number)
        before = Path(place[0]).read_text(encoding="utf-8")
        spoil(place[0], content)
        with contextlib.suppress(Refused):
            Plan(conf.load(Path("config.yaml")))
            Path(place[0]).write_text(before)
            continue  # harmless
        asked = ["train", "digits/mlp256/ce", "--results", str(results)]
        assert xkd.main(asked) == 2, f"{kind} at {place}"
        told += capsys.readouterr().err.splitlines()
        assert not results.exists()
        Path(place[0]).write_text(before)
    assert len(told) >= 7
