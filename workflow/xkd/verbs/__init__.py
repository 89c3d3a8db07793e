"""The verbs of `xkd`: what each is called, takes and does; `xkd.__main__` parses them."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xkd.plan.grid import Plan
from xkd.verbs import compute, look, make, read


@dataclass(frozen=True)
class Verb:
    """One verb; its name and its line of help are those of its action.

    Args:
        action: called with the plan and the parsed command line; may return an exit status.
        subject: name of its argument and, behind a colon, what that is; None where it takes none.
        threads: whether `--threads` limits the cores that it uses.
        device: whether it computes on a device, which `--device` names.
        located: whether its argument may be a path, which tells the scale.
        options: further arguments and options, with their settings for
            `ArgumentParser.add_argument`.
        example: what may be typed behind `xkd`.
        default: of the argument, if that may be left out.
    """

    action: Callable[[Plan, argparse.Namespace], Any]
    subject: str | None = None
    threads: bool = False
    device: bool = False
    located: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    example: str = ""
    default: str | None = None

    @property
    def name(self) -> str:
        return self.action.__name__

    @property
    def help(self) -> str:
        return self.action.__doc__ or ""


CELL = (
    "CELL: dataset/network/method, and /from-teacher where the method has a teacher; "
    "`xkd cells` lists all"
)
RUN = "RUN: a cell, then /seed<number>"
JSON = {"action": "store_true", "help": "as JSON"}
TABLE = {"--table": {"type": Path, "metavar": "FILE", "help": "what tabulate_teacher wrote"}}
COMPUTES: dict[str, Any] = {"threads": True, "device": True}

#: In the order in which they are needed; the last ones are what the pipeline's rules call.
VERBS = (
    Verb(look.check, example="check --set scale=paper"),
    Verb(
        look.cells,
        "PATTERN: a part of a cell, or all of it with * and ?",
        options={"--trials": {"action": "store_true", "help": "also those of searches"}},
        example="cells half_resnet14/le",
        default="",
    ),
    Verb(
        compute.prepare, "DATASET: a name below datasets: in the config", example="prepare digits"
    ),
    Verb(
        compute.train,
        CELL,
        **COMPUTES,
        options=TABLE,
        example="train digits/half_resnet14/kd/from-half_resnet20",
    ),
    Verb(look.status, example="status"),
    Verb(look.where, example="where"),
    Verb(
        look.page,
        example="page",
        options={
            "--reference": {
                "action": "store_true",
                "help": "of the small files of complete runs in results/reference/",
            }
        },
    ),
    Verb(
        read.inspect,
        "PATH|CELL|ITEM: a file under results/, a cell, a run, a table or a figure",
        located=True,
        options={
            "--png": {"type": Path, "metavar": "FILE", "help": "draw its images into a file"},
            "--epoch": {"type": int, "metavar": "N", "help": "also all numbers of this epoch"},
            "--json": JSON,
        },
        example="inspect digits/half_resnet14/le_gradcam",
    ),
    Verb(
        read.compare,
        "A: a run or a cell, or its path",
        located=True,
        options={"other": {"metavar": "B", "help": "likewise"}, "--json": JSON},
        example="compare digits/half_resnet14/ce digits/half_resnet14/le_gradcam",
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
        example="trace recipes.r_res.lr",
    ),
    Verb(
        make.new,
        "KIND: method",
        options={
            "name": {"metavar": "NAME", "help": "small letters, digits and _"},
            "--into": {"type": Path, "metavar": "FOLDER", "help": "default: studies/NAME"},
        },
        example="new method focal",
    ),
    Verb(
        compute.import_weights,
        "CELL: dataset/network/checkpoint",
        **COMPUTES,
        example="import_weights imagenet/resnet34/torchvision --set scale=paper",
    ),
    Verb(
        compute.search,
        CELL,
        **COMPUTES,
        options=TABLE,
        example="search digits/mlp256/label_smoothing",
    ),
    Verb(
        compute.tabulate_teacher,
        RUN,
        **COMPUTES,
        options={
            "--reinforcement": {"default": "gradient-0", "help": "e.g. gradient-0.5"},
            "--out": {"type": Path, "required": True, "metavar": "FILE", "help": "ends in .npy"},
        },
        example="tabulate_teacher digits/half_resnet20/ce/seed0 --out table.npy",
    ),
    Verb(
        compute.analyse,
        "NAME: of a file of workflow/xkd/analyses/",
        **COMPUTES,
        options={"run": {"metavar": "RUN", "help": RUN.partition(": ")[2]}},
        example="analyse responses digits/cnn10/ce/seed0",
    ),
    Verb(
        compute.bench,
        **COMPUTES,
        options={
            "--rows": {"type": lambda names: names.split(","), "help": "a,b,..."},
            "--quick": {"action": "store_true", "help": "a look, no measurement"},
        },
        example="bench --quick",
    ),
)
