"""Cards of analyses: of which run, with which options, made of what, and digests of the files."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xkd.data import DATA, MANIFEST
from xkd.errors import Refused
from xkd.files import digest, plain, read_json, reading, verify
from xkd.plan.runs import Layout, Run
from xkd.records import cards

AFFECTS_RESULTS = False


def sources(reads: Iterable[str], run: Run, layout: Layout) -> dict[str, str]:
    """Digests, by their names in `READS`, of what an analysis of a run is made of.

    Of weights and data the digest that their own card or manifest says; of an analysis that of its
    card. What is absent has none.
    """
    found: dict[str, str] = {}
    for name in reads:
        with contextlib.suppress(Refused, OSError, KeyError, TypeError):
            if name == "weights":
                found[name] = cards.read(layout.run(run))["files"]["weights.safetensors"]
            elif name == "data":
                manifest = read_json(layout.data(run.cell.dataset) / MANIFEST)
                found[name] = manifest["digests"][DATA]
            else:
                found[name] = digest(layout.analysis_card(name, run))
    return found


def check_card(path: Path, asked: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Check that an analysis is complete, as it was written, and made with these options.

    Args:
        asked: cell -> the options that its runs are to be analysed with; None takes any.
    Raises: Refused, with the command that makes it again.
    """
    path = Path(path)
    card = read_json(path)
    with reading(path):
        name, run, digests, found = (card[k] for k in ("analysis", "run", "digests", "options"))
        files, made_of, found = dict(digests), dict(card["made_of"]), dict(found)
        for file, expected in files.items():
            verify(path.parent / file, expected, path)
        now = sources(made_of, Run.parse(run), Layout(path.parents[len(Path(run).parts) + 2]))
    if changed := [name for name in now if now[name] != made_of[name]]:
        raise Refused(
            f"{path.parent} was made of other {', '.join(changed)} than are there now; run "
            f"`xkd analyse {name} {run}` again"
        )
    options = plain((asked or {}).get(str(run).rpartition("/")[0], found))
    if found != options:
        key = next(k for k in {**options, **found} if found.get(k) != options.get(k))
        raise Refused(
            f"{path.parent} was made with {key}: {found.get(key)}, the config says "
            f"{options.get(key)}; run `xkd analyse {name} {run}` again"
        )
