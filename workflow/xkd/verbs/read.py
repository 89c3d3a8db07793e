"""Verbs that read results back: what is this, where do these differ, where does this come from."""

import argparse
import json

from xkd.errors import Refused
from xkd.plan.grid import Plan


def inspect(plan: Plan, asked: argparse.Namespace) -> None:
    """describe any result: a file, a run, a cell, a table, a figure"""
    from xkd.inspection.describe import describe
    from xkd.inspection.target import find

    target = find(asked.subject, plan, asked.results, asked.sets)
    if asked.png:
        from xkd.inspection.sheet import draw

        print(draw(target, asked.png))
        return
    found = describe(target)
    if asked.epoch is not None:
        from xkd.inspection.cells import epoch_rows

        found.add(f"epoch {asked.epoch}", epoch_rows(target, asked.epoch))
    print(found.json() if asked.json else "\n".join(found.lines()))


def compare(plan: Plan, asked: argparse.Namespace) -> int:
    """where two runs or cells differ; exit status 0 if they are equal, 1 if not"""
    from xkd.inspection.compare import compare
    from xkd.inspection.target import find

    sides = [find(word, plan, asked.results, asked.sets) for word in (asked.subject, asked.other)]
    found = compare(*sides)
    if asked.json:
        print(json.dumps(found.payload(), indent=1, ensure_ascii=False))
    else:
        print("\n".join(found.description.lines()))
    return 0 if found.equal else 1


def trace(plan: Plan, asked: argparse.Namespace) -> None:
    """from a number of a table to its runs and equation; from a config key to what it changes"""
    from xkd.inspection import keys, trace

    if asked.subject not in plan.items:
        if asked.subject.split(".")[0] not in plan.config:
            raise Refused(_no_subject(asked.subject, plan))
        if asked.words:
            raise Refused(f"{asked.subject} is a key of the config, which has no rows or columns")
        found = [keys.describe_key(plan, asked.subject)]
    else:
        item, layout = plan.items[asked.subject], plan.layout(asked.results)
        option = "".join(f" --set {one}" for one in asked.sets)
        if asked.words:
            every = trace.numbers(plan, item, layout)
            chosen = trace.chosen(plan, every, asked.words)
            found = [trace.describe_number(plan, item, layout, number) for number in chosen]
        else:
            found = [trace.describe_item(plan, item, layout, option)]
    if asked.json:
        print(json.dumps([json.loads(one.json()) for one in found], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(one.lines()) for one in found))


def _no_subject(word: str, plan: Plan) -> str:
    from difflib import get_close_matches

    section = word.split(".")[0]
    near = get_close_matches(section, [*plan.items, *plan.config], n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return (
        f"'{word}' is neither a table or figure nor a key of the config;{hint} "
        "expected the name of a table or figure (`xkd check` lists them), or a key such as "
        "recipes.r_res.lr"
    )
