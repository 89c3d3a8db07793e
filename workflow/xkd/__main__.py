"""`python -m xkd VERB`: what the computing rules call; works by hand and without Snakemake too.

Parses, calls and reports refusals. The verbs are in `xkd.verbs`, everything else is in the modules
that they call, imported on demand.
"""

import sys

if __name__ == "__main__":  # before anything is imported that takes time
    from xkd.warm import handed_over

    if (status := handed_over()) is not None:
        sys.exit(status)

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from xkd import __version__
from xkd.engine.lease import lease_gpu
from xkd.engine.options import team_size
from xkd.engine.stopping import leave_at_once
from xkd.errors import Refused, unknown
from xkd.fingerprint import git_commit
from xkd.inspection.target import scale_of
from xkd.plan import config, frozen
from xkd.plan.grid import Plan
from xkd.verbs import VERBS


def parser() -> argparse.ArgumentParser:
    """The command line, verb by verb."""
    top = argparse.ArgumentParser(
        prog="xkd",
        description="Trains, analyses and looks at the cells of an XKD project.",
        epilog="`xkd VERB --help` tells more, with an example. Whole tables: `snakemake ITEM`.",
    )
    top.add_argument("--version", action=Version, nargs=0, help="version and commit")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        line = verbs.add_parser(
            verb.name,
            help=verb.help,
            description=f"{verb.help[:1].upper()}{verb.help[1:]}.",
            epilog=f"example: xkd {verb.example}",
        )
        line.set_defaults(action=verb.action, located=verb.located)
        if verb.subject:
            metavar, _, text = verb.subject.partition(": ")
            optional = {} if verb.default is None else {"nargs": "?", "default": verb.default}
            line.add_argument("subject", metavar=metavar, help=text, **optional)
        for name, settings in verb.options.items():
            line.add_argument(name, **settings)
        if verb.threads:
            line.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use")
        if verb.device:
            line.add_argument("--device", default="auto", help="auto, cpu or cuda")
        _add_config(line)
    return top


class Version(argparse.Action):
    """Prints version and commit, which only then is looked up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"xkd {__version__} ({git_commit()})")
        parser.exit()


def _add_config(line: argparse.ArgumentParser) -> None:
    """Options that say what the config is, as Snakemake has them where it has such."""
    frozen = config.exported() or config.CONFIG  # jobs of the rules read the frozen config
    line.add_argument(
        "--config", default=frozen, metavar="FILE", help="config.yaml, or a frozen config"
    )
    line.add_argument(
        "--configfile",
        action="extend",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files that are laid over the config, the last one on top",
    )
    line.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="one setting, on top of all; e.g. scale=paper or recipes.r_res.epochs=2",
    )
    line.add_argument(
        "--results", type=Path, default=Path("results"), metavar="FOLDER", help="default: results"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 refused (one line says why), 75 stopped by SIGTERM and resumable."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        parser().print_help()
        return 2
    if not given[0].startswith("-") and given[0] not in {verb.name for verb in VERBS}:
        print(f"xkd: {unknown('verb', given[0], (verb.name for verb in VERBS))}", file=sys.stderr)
        return 2
    asked = parser().parse_args(given)
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
    plan = _read(asked)
    if asked.located and not any(one.startswith("scale=") for one in asked.sets):
        scale = scale_of(asked.subject, plan.config["scales"])
        if scale not in (None, plan.scale):
            asked.sets.append(f"scale={scale}")
            return _read(asked)
    return plan


def _read(asked: argparse.Namespace) -> Plan:
    path = Path(asked.config)
    if path.suffix == ".json" and path.exists():
        return frozen.plan(path.absolute())
    return Plan(config.load(path, asked.sets, asked.configfile), name=str(path))


if __name__ == "__main__":
    sys.exit(main())
