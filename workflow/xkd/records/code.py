"""Which module had which content when a result was made, under the digest that results bear."""

from xkd.errors import Refused
from xkd.files import read_json, write_json
from xkd.fingerprint import by_module, fingerprint
from xkd.plan.runs import Layout

AFFECTS_RESULTS = False


def keep(layout: Layout, *modules: str) -> None:
    """Write down the digest of each module, once for every version of the code."""
    path = layout.code(fingerprint(*modules))
    if not path.exists():
        write_json(path, by_module(*modules))


def modules(layout: Layout, digest: str) -> dict[str, str] | None:
    """Digest of each module by name; None where nothing was written down, or it is damaged."""
    try:
        found = read_json(layout.code(digest))
    except Refused:
        return None
    return found if isinstance(found, dict) else None


def difference(a: dict[str, str], b: dict[str, str]) -> list[str]:
    """Modules that are not in both versions with the same content."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
