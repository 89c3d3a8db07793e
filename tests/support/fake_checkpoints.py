"""Entries of weights from elsewhere, and the command line that knows them."""

from pathlib import Path

import pytest
import yaml

from xkd.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
GRIDS = """
le_table2:
  - { datasets: [cifar10], networks: [resnet8], methods: [ce], seeds: [0] }
oracle_teacher20:
  - { datasets: [cifar100], networks: [resnet20], methods: [released], seeds: [0] }
oracle_figure5:
  - datasets: [cifar100]
    networks: [resnet20]
    methods: [oracle]
    teachers: [oracle20]
    seeds: [0]
"""
SETS = {
    "experiments": yaml.safe_load(GRIDS),
    "teachers.oracle20": {"network": "resnet20", "method": "released", "seed": 0},
    "analyses": {
        "responses": {"gradient": [0, 0.5], "sign": [], "keep": [0.5], "splits": ["test"]},
        "clusters": {
            "gammas": [0, 0.5],
            "splits": ["test"],
            "points": 100,
            "perplexity": 30,
            "embedding_seeds": 1,
        },
    },
}


def checkpoint(file: Path | str, top1: float, keys: str = "akamaster", **more: object) -> dict:
    entry = {"file": str(file), "expected_top1": top1, **more}
    files = {"digits": {"half_resnet8": entry}}
    return {"released": {"label": "Released", "keys": keys, "files": files}}


def xkd(results: Path, *verb: str, checkpoints: dict, **more: object) -> int:
    sets = {**SETS, "checkpoints": checkpoints, **more}
    told = [
        part for key, value in sets.items() for part in ("--set", f"{key}={yaml.safe_dump(value)}")
    ]
    config = str(ROOT / "config.yaml")
    return main([*verb, "--config", config, "--results", str(results), *told])


def refused(results: Path, capsys: pytest.CaptureFixture, *verb: str, **known: object) -> str:
    capsys.readouterr()
    assert xkd(results, *verb, **known) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text
