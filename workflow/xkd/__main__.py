"""`python -m xkd VERB`: what the computing rules call; works by hand and without Snakemake too.

Parses, calls and reports refusals. The verbs are in `xkd.verbs`, everything else is in the modules
that they call, imported on demand.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xkd.engine.lease import lease_gpu
from xkd.engine.options import team_size
from xkd.engine.stopping import leave_at_once
from xkd.errors import Refused
from xkd.inspection.target import scale_of
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.verbs import VERBS

FROZEN = config.exported() or "config.yaml"  # the rules' jobs read the frozen config


def parser() -> argparse.ArgumentParser:
    """The command line, verb by verb."""
    top = argparse.ArgumentParser(prog="xkd", description=__doc__.splitlines()[0])
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        line = verbs.add_parser(verb.name, help=verb.help)
        line.set_defaults(action=verb.action, located=verb.located)
        if verb.subject:
            line.add_argument("subject", metavar=verb.subject.split(":")[0])
        if verb.threads:
            line.add_argument("--threads", type=int, default=1, help="cores to use")
        if verb.device:
            line.add_argument("--device", default="auto", help="auto, cpu or cuda")
        for name, settings in verb.options.items():
            line.add_argument(name, **settings)
        line.add_argument("--config", default=FROZEN, help="config.yaml, or a frozen config")
        line.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
        line.add_argument("--results", type=Path, default=Path("results"))
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 refused (one line says why), 75 stopped by SIGTERM and resumable."""
    asked = parser().parse_args(arguments)
    if arguments is None:  # this process is ours
        leave_at_once(asked.verb)
    try:
        plan = _plan(asked)
        if (team := team_size()) > 1 and asked.verb != "train":
            raise Refused(f"torchrun started {team} processes; only `xkd train` shares its work")
        if getattr(asked, "device", "cpu") != "cpu":
            lease_gpu(1 if team > 1 else plan.config["engine"]["cells_per_gpu"])
        status = asked.action(plan, asked) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Refused as problem:
        print(f"xkd {asked.verb}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"xkd {asked.verb}: interrupted; the same command continues", file=sys.stderr)
        return 130


def _plan(asked: argparse.Namespace) -> Plan:
    """The plan of the config; at the scale of the results that a path names, unless one is set.

    Such a scale is added to `asked.sets`, so that commands which are printed name it.
    """
    plan = Plan(config.load(Path(asked.config), asked.sets), name=str(asked.config))
    if asked.located and not any(one.startswith("scale=") for one in asked.sets):
        scale = scale_of(asked.subject, plan.config["scales"])
        if scale not in (None, plan.scale):
            asked.sets.append(f"scale={scale}")
            return Plan(config.load(Path(asked.config), asked.sets), name=str(asked.config))
    return plan


if __name__ == "__main__":
    sys.exit(main())
