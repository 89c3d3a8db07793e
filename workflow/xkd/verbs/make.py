"""Verbs that write a beginning: `xkd new method focal`."""

import argparse
import re
from pathlib import Path

from xkd.errors import Refused, unknown
from xkd.files import write_text
from xkd.fingerprint import PACKAGE
from xkd.plan.declarations import known_modules
from xkd.plan.grid import Plan

NAME = r"[a-z][a-z0-9_]*"  # of a Python file, an entry of the config and a folder at once
#: Where the demo shows it: trained in seconds.
DATASET, NETWORK = "digits", "half_resnet8"

METHOD = '''"""{label}: say in one sentence what it does, and where it is from.

    L = mean_i (1 − p_i)^e · ( −ln p_i ),   p_i the probability of image i's label

With exponent e = 0 this is cross-entropy; put your own loss in its place.
"""

from typing import ClassVar

from torch.nn.functional import cross_entropy

from xkd.methods.base import BaseMethod, Batch, StepOutput


class Method(BaseMethod):
    OPTIONS: ClassVar = {{
        "exponent": {{
            "description": "e; the larger, the less do easy images count",
            "type": "number",
            "minimum": 0,
            "default": 1.0,
        }}
    }}
    WEIGHTS: ClassVar = {{"{name}": 1.0}}  # the terms that `forward` returns, and their factors

    def forward(self, batch: Batch, stage: str) -> StepOutput:
        logits = self.student(batch.images).logits
        losses = cross_entropy(logits, batch.labels, reduction="none")
        hard = (1 - (-losses).exp()) ** self.options["exponent"]
        return StepOutput(logits, {{"{name}": (hard * losses).mean()}})
'''

STUDY = """# Compares {name} with cross-entropy; add networks, data sets and methods as you like.

title: Does {label} help?
label: {label}

methods:
  {name}: {{ label: {label}, uses: {name}, exponent: 1.0 }}

experiments:
  {name}_table1:
    - {{ datasets: [{dataset}], networks: [{network}], methods: [ce, {name}], seeds: [0, 1, 2] }}

tables:
  {name}_table1:
    number: Table 1
    title: {label} and cross-entropy
    protocol: Test split, last epoch; mean and sample s.d. over seeds.
    optional: true # drawn by its name alone, not as part of everything
    claims:
      - best_first: [{name}, ce]
        says: "{label} is more accurate than cross-entropy"
"""


def new(plan: Plan, asked: argparse.Namespace) -> None:
    """begin a method of your own: its file, and a study folder with an entry and a table"""
    if asked.subject != "method":
        raise Refused(unknown("kind of thing", asked.subject, ["method"]))
    name, root = asked.name, Path(asked.config).parent
    file = PACKAGE / "methods" / f"{name}.py"
    study = asked.into or Path("studies") / name
    _check(name, plan, file, root / study)
    label = name.replace("_", " ").capitalize()
    words = {"name": name, "label": label, "dataset": DATASET, "network": NETWORK}
    write_text(file, METHOD.format(**words))
    write_text(root / study / "paper.yaml", STUDY.format(**words))
    named = _name_in(Path(asked.config), study)
    print(f"wrote {_shown(file)}: your loss goes into `forward`")
    print(f"wrote {root / study / 'paper.yaml'}: entry, experiment, table")
    if named:
        print(f"added {study} to papers: in {asked.config}")
    else:
        print(f"now add {study} to the list papers: in {asked.config}")
    print("next:")
    print("  xkd check")
    print(f"  xkd prepare {DATASET} && xkd train {DATASET}/{NETWORK}/{name}")
    print(f"  snakemake --cores 2 {name}_table1")
    print("  make test                                # once, for it installs pytest; then")
    print(f"  python -m pytest tests/methods -k {name}   # what is expected of every method")


def _check(name: str, plan: Plan, file: Path, study: Path) -> None:
    """Refuse a name that is taken, or cannot be one."""
    if not re.fullmatch(NAME, name):
        raise Refused(
            f"found the name '{name}', expected small letters, digits and '_', a letter first"
        )
    if name in plan.resolver.methods or name in known_modules("methods") or file.exists():
        raise Refused(f"there is a method '{name}' already; choose another name")
    if study.exists():
        raise Refused(f"{study} exists already; choose another folder by --into")


def _name_in(config: Path, study: Path) -> bool:
    """Add a folder to the list `papers:` of a config, if that is written on one line."""
    text = config.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^(papers: \[[^\]\n]*)\]", rf"\1, {study.as_posix()}]", text)
    if count == 1:
        write_text(config, changed)
    return count == 1


def _shown(path: Path) -> Path:
    """A path as seen from here, where it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
