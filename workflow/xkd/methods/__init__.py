"""Training methods, one file each; see `base` for the contract."""

from importlib import import_module
from pkgutil import iter_modules

from xkd.errors import Refused, unknown
from xkd.methods.base import BaseMethod


def known() -> list[str]:
    """Names of the method files."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def load(name: str) -> type[BaseMethod]:
    """The class `Method` of `xkd/methods/<name>.py`. Raises Refused for an unknown name."""
    if name not in known():
        raise Refused(unknown("method", name, known()))
    return import_module(f"xkd.methods.{name}").Method
