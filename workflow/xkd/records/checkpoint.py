"""Checkpoints of unfinished runs: one file, whole or absent, that knows whose it is.

A file is the SHA-256 of what follows, a line break, and a torch archive. The checkpoint before the
last one is kept beside it, should the last one turn out damaged.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xkd.files import atomic, reason
from xkd.readers import unpickled

AFFECTS_RESULTS = False


class Checkpoints:
    """The checkpoint of one run, and the one before.

    Args:
        path: of the newest; the older one adds `.previous`.
        fingerprint: of the code and settings that the run is trained with, and where.
        say: receives one line whenever a file is not used as it was found.
    """

    def __init__(self, path: Path, fingerprint: str, say: Callable[[str], None]) -> None:
        self.path, self.fingerprint, self.say = path, fingerprint, say
        self.previous = path.with_name(f"{path.name}.previous")

    def save(self, state: dict[str, Any]) -> None:
        """state: tensors, numbers, strings, lists and dicts of them. Atomic."""
        archive = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, **state}, archive)
        content = archive.getbuffer()
        with atomic(self.path) as temporary:
            with temporary.open("wb") as file:
                file.write(f"{hashlib.sha256(content).hexdigest()}\n".encode())
                file.write(content)
            if self.path.exists():
                os.replace(self.path, self.previous)

    def load(self) -> dict[str, Any] | None:
        """The newest sound state of this very code and settings; None if there is none.

        A damaged file, or one of another fingerprint, is set aside under a name that ends in
        `.damaged` or `.stale`, with a line that says so; nothing is deleted.
        """
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = read(path)
            except ValueError as problem:
                self._set_aside(path, "damaged", str(problem))
                continue
            if state["fingerprint"] == self.fingerprint:
                return state
            self._set_aside(
                path,
                "stale",
                f"it belongs to code, settings or device {state['fingerprint']}, now "
                f"{self.fingerprint}",
            )
        return None

    def remove(self) -> None:
        """The run is complete and needs them no more."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)

    def _set_aside(self, path: Path, why: str, reason: str) -> None:
        aside = path.with_name(f"{path.name}.{why}")
        with contextlib.suppress(OSError):
            os.replace(path, aside)
        self.say(f"checkpoint {path} not used: {reason}; kept as {aside.name}")


def read(path: Path) -> dict[str, Any]:
    """Raises ValueError, with what was found, if the file is not what was written."""
    content = path.read_bytes()
    expected, _, archive = content.partition(b"\n")
    found = hashlib.sha256(archive).hexdigest()
    if expected.decode("ascii", "replace") != found:
        raise ValueError(f"{len(content)} bytes whose sha256 is not the one they begin with")
    try:
        state = unpickled(io.BytesIO(archive))
    except Exception as problem:  # no list of what torch raises is complete
        raise ValueError(f"no torch archive: {reason(problem)}") from problem
    if not isinstance(state, dict) or not isinstance(state.get("fingerprint"), str):
        raise ValueError(f"a {type(state).__name__} that does not say whose it is")
    return state
