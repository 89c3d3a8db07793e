"""Files that appear whole or not at all, and the digests that say which bytes they hold."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xkd.errors import Refused


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to the yielded temporary path; on success it becomes `path`, on failure it is gone.

    Raises Refused, in one line, when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line why `path` cannot be written. Raises Refused for what people can mend."""
    try:
        yield
    except OSError as problem:
        reason = _REASONS.get(problem.errno)
        if problem.errno == errno.ENOENT and not path.parent.exists():
            reason = "its folder vanished meanwhile; mount or make it again and repeat the command"
        if reason is None:
            raise
        raise Refused(f"cannot write {path}: {reason}; earlier results are untouched") from problem


_REASONS = {
    errno.ENOSPC: "no space left on the device; free some and run the same command again",
    errno.EDQUOT: "disk quota exceeded; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; choose a writable results folder",
    errno.EACCES: "permission denied; make the folder writable",
    errno.EPERM: "not permitted; make folder and file changeable",
    errno.EISDIR: "a folder is in its place; move it away",
    errno.ENOTDIR: "a part of the path is a file, not a folder; move it away",
    errno.EEXIST: "a part of the path is a file, not a folder; move it away",
    errno.EFBIG: "larger than this system allows; look at `ulimit -f`",
    errno.ESTALE: "the file system went away; mount it again and repeat the command",
    errno.ENOTCONN: "the file system went away; mount it again and repeat the command",
    errno.EIO: "input/output error; check the disk or the network mount",
}


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """Readable JSON, keys in the order given."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def plain(content: Any) -> Any:
    """The content as JSON and YAML give it back: lists for tuples."""
    return json.loads(json.dumps(content))


def read_json(path: Path) -> Any:
    """Raises Refused when the file is absent or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{path} is missing; run the rule that makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise Refused(
            f"{path} is damaged ({problem}); delete it and run the same command again"
        ) from None


def parse_yaml(text: str) -> Any:
    """As `yaml.safe_load`, by the C library where it is there: ten times faster.

    Raises: yaml.YAMLError.
    """
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str, manifest: Path | None = None) -> Path:
    """The path itself, once its bytes are known to be those that were written.

    Args:
        manifest: that says what is expected; without it the messages speak of the one beside.
    Raises: Refused when the file is absent or its digest differs.
    """
    path = Path(path)
    delete = f"delete {manifest}" if manifest else "delete its manifest"
    if not path.is_file():
        raise Refused(f"{path} is missing; {delete} and run the same command again")
    if (found := digest(path)) != expected:
        raise Refused(
            f"{path} is damaged: sha256 {found[:12]}… where its manifest says {expected[:12]}…; "
            f"{delete} and run the same command again"
        )
    return path
