"""The verbs of `xkd`: what each is called, takes and does; `xkd.__main__` parses them."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xkd.plan.grid import Plan
from xkd.verbs import compute, look, read


@dataclass(frozen=True)
class Verb:
    """One verb; its name and its line of help are those of its action.

    Args:
        action: called with the plan and the parsed command line; may return an exit status.
        subject: name of its argument and, behind a colon, what that is; None where it takes none.
        threads: whether `--threads` limits the cores that it uses.
        device: whether it computes on a device, which `--device` names.
        located: whether its argument may be a path, which tells the scale.
        options: further options with their settings for `ArgumentParser.add_argument`.
    """

    action: Callable[[Plan, argparse.Namespace], Any]
    subject: str | None = None
    threads: bool = False
    device: bool = False
    located: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.action.__name__

    @property
    def help(self) -> str:
        return self.action.__doc__ or ""


CELL = "CELL: dataset/network/method[/from-teacher]"
RUN = "RUN: a cell, then /seed<number>"
JSON = {"action": "store_true", "help": "as JSON"}
TABLE = {"--table": {"type": Path, "help": "what tabulate_teacher wrote"}}

#: In the order in which they are needed.
VERBS = (
    Verb(compute.prepare, "DATASET"),
    Verb(compute.train, CELL, threads=True, device=True, options=TABLE),
    Verb(compute.import_weights, "CELL: dataset/network/checkpoint", threads=True, device=True),
    Verb(compute.search, CELL, threads=True, device=True, options=TABLE),
    Verb(
        compute.tabulate_teacher,
        RUN,
        threads=True,
        device=True,
        options={
            "--reinforcement": {"default": "gradient-0", "help": "e.g. gradient-0.5"},
            "--out": {"type": Path, "required": True},
        },
    ),
    Verb(
        compute.analyse,
        "NAME: of a file of xkd/analyses/",
        threads=True,
        device=True,
        options={"run": {"metavar": "RUN", "help": RUN.partition(": ")[2]}},
    ),
    Verb(
        compute.bench,
        threads=True,
        device=True,
        options={
            "--rows": {"type": lambda names: names.split(","), "help": "a,b,..."},
            "--quick": {"action": "store_true", "help": "a look, no measurement"},
        },
    ),
    Verb(look.check),
    Verb(look.status),
    Verb(look.where),
    Verb(
        read.inspect,
        "PATH|CELL|ITEM: a file under results/, a cell, a run, a table or a figure",
        located=True,
        options={
            "--png": {"type": Path, "metavar": "FILE", "help": "draw its images into a file"},
            "--json": JSON,
        },
    ),
    Verb(
        read.compare,
        "A: a run or a cell, or its path",
        located=True,
        options={"other": {"metavar": "B", "help": "likewise"}, "--json": JSON},
    ),
    Verb(
        read.trace,
        "ITEM|KEY: a table or figure; or a key of the config, such as recipes.r_or.lr",
        options={
            "words": {
                "nargs": "*",
                "metavar": "ROW COLUMN",
                "help": "names or printed labels of a row and a column, in any order",
            },
            "--json": JSON,
        },
    ),
)
