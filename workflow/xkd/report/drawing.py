"""What a drawing script owes Snakemake: its words in the log, and one line when it must refuse.

`snakemake` is the object that Snakemake puts into a script's globals; only this module and the last
lines of a script know it.
"""

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import read_json
from xkd.records.analyses import check_card
from xkd.report import claims, footnotes, published, results, tables, verdicts


def draw_accuracies(
    snakemake: Any, build: Callable[..., tables.Table], table: str | None = None
) -> None:
    """The script of a table of runs: read cells, searches and print, build, save.

    Args:
        build: from runs, printed numbers and the item to a table.
        table: as printed, "Table 2", where the published CSV holds more than one.
    """
    with job(snakemake):
        item = dict(snakemake.params.item)
        runs = results.read_cells(snakemake.input.cells, item)
        printed = published.load(
            snakemake.input.get("published"), item["labels"], table, item.get("methods", ())
        )
        searched = results.search_notes(snakemake.input.get("searches"), item["labels"])
        item["note"] = [*footnotes.sentences(item.get("note")), *searched]
        table = build(runs, printed, item)
        for judged in results.paths(snakemake.input.get("claims")):
            table = verdicts.add(table, claims.read(judged), item)
        tables.save(table, snakemake.output)


def draw_responses(snakemake: Any, build: Callable[..., tables.Table], table: str) -> None:
    """The script of a table about x and x*: as `draw_accuracies`, from teachers' responses.

    Args:
        build: from responses, with the teachers' `parameters` joined, printed numbers and the item.
    """
    with job(snakemake):
        item = snakemake.params.item
        responses = results.read_responses(snakemake.input.responses, item)
        runs = results.read_cells(snakemake.input.get("cells"), item)
        printed = published.load(snakemake.input.get("published"), item["labels"], table)
        sizes = runs.drop_duplicates(["dataset", "network"]).set_index(["dataset", "network"])
        sized = responses.join(sizes.parameters, on=["dataset", "network"])
        tables.save(build(sized, printed, item), snakemake.output)


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Send stderr to the rule's log; a refusal ends the job with one line there and on stderr.

    Analyses that the item is drawn from are checked first: complete, undamaged, and made with the
    options that the config has now.
    """
    if not snakemake.log:
        yield
        return
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with path.open("w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        try:
            check_analyses(snakemake)
            yield
        except Refused as refusal:
            _say(str(refusal), file, terminal)
        except Exception as problem:
            traceback.print_exc(file=file)
            _say(f"{type(problem).__name__}: {problem}; details in {path}", terminal)


def check_analyses(snakemake: Any) -> None:
    """Raises Refused for an analysis that is damaged, or was made with other options."""
    asked = (snakemake.params.get("item") or {}).get("analyses", {})
    for card in results.paths(snakemake.input.get("analyses")):
        check_card(card, asked.get(read_json(card).get("analysis")))


def _say(line: str, *streams: object) -> None:
    for stream in streams:
        print(" ".join(line.split()), file=stream)
    raise SystemExit(1)
