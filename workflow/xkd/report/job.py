"""What a drawing script owes Snakemake: its words in the log, and one line when it must refuse."""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from xkd.errors import Refused


@contextlib.contextmanager
def logged(log: Sequence[str]) -> Iterator[None]:
    """Send stderr to the rule's log; a refusal ends the job with one line there and on stderr.

    Args:
        log: `snakemake.log`, with one file or none.
    """
    if not log:
        yield
        return
    path = Path(log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    with path.open("w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        try:
            yield
        except Refused as refusal:
            _say(str(refusal), file, terminal)
        except Exception as problem:
            traceback.print_exc(file=file)
            _say(f"{type(problem).__name__}: {problem}; details in {path}", terminal)


def _say(line: str, *streams: object) -> None:
    for stream in streams:
        print(" ".join(line.split()), file=stream)
    raise SystemExit(1)
