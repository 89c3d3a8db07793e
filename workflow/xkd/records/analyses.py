"""Cards of analyses: of which run, with which options, and the digests of the files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xkd.errors import Refused
from xkd.files import plain, read_json, verify

AFFECTS_RESULTS = False


def check_card(path: Path, asked: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Check that an analysis is complete, as it was written, and made with these options.

    Args:
        asked: cell -> the options that its runs are to be analysed with; None takes any.
    Raises: Refused, with the command that makes it again.
    """
    card = read_json(path)
    try:
        name, run, digests, found = (card[k] for k in ("analysis", "run", "digests", "options"))
        files = dict(digests)
    except (KeyError, TypeError, ValueError):
        raise Refused(
            f"{path} is no card of an analysis; delete it and run the same command again"
        ) from None
    for file, expected in files.items():
        verify(path.parent / file, expected, path)
    options = plain((asked or {}).get(str(run).rpartition("/")[0], found))
    if found != options:
        key = next(k for k in {**options, **found} if found.get(k) != options.get(k))
        raise Refused(
            f"{path.parent} was made with {key}: {found.get(key)}, the config says "
            f"{options.get(key)}; run `xkd analyse {name} {run}` again"
        )
