"""What finished runs say of themselves, held against what a config asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import plain, read_json, read_yaml, verify
from xkd.plan.settings import CellSettings

AFFECTS_RESULTS = False


def read(folder: Path) -> dict[str, Any]:
    """The card of a run. Raises Refused when the run is not complete, or its card is damaged."""
    path = folder / "run.yaml"
    if not path.exists():
        raise Refused(f"{folder} is not a complete run: run.yaml is missing; train its cell")
    card = read_yaml(path, "delete it and train its cell again")
    if not isinstance(card.get("files"), dict):
        raise Refused(f"{path} is no run card; delete it and train its cell again")
    return card


def require_settings(folder: Path, settings: CellSettings) -> None:
    """See that a run was trained with these very settings.

    Raises: Refused, naming the first setting that differs, or if the run is not complete.
    """
    refuse_difference(read(folder).get("settings", {}), settings.slice(), str(folder))


def verify_runs(manifest: Path, content: Mapping[str, Any], seeds: set[int] | None) -> None:
    """See that the files behind a manifest's numbers are those that training left.

    Args:
        seeds: whose; all if None. Weights are verified by those who load them.
    Raises: Refused if history, metrics or predictions differ from their digests, or metrics from
        the manifest's.
    """
    for seed, run in content["runs"].items():
        if seeds is not None and int(seed) not in seeds:
            continue
        folder = manifest.parent / f"seed{seed}"
        digests = run.get("digests", {})
        for name, expected in digests.items():
            if not name.startswith("weights"):
                verify(folder / name, expected, manifest)
        if digests and read_json(folder / "metrics.json") != run["metrics"]:
            raise Refused(
                f"{manifest} is damaged: its metrics of seed {seed} are not those of {folder}; "
                "delete it and run the same command again"
            )


def refuse_difference(found: Any, expected: Any, where: str) -> None:
    """Raises Refused for the first of the expected settings that was found to be another."""
    if difference := _difference(found, plain(expected)):
        key, was, now = difference
        raise Refused(
            f"{where} was trained with {key}: {was}, the config says {now}; "
            "train its cell again, or mend the config"
        )


def _difference(found: Any, expected: Any, *where: str) -> tuple[str, Any, Any] | None:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if differing := _difference(found.get(key), value, *where, str(key)):
                return differing
        return None
    return None if found == expected else (".".join(where), found, expected)
