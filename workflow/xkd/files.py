"""Files that appear whole or not at all, and the digests that say which bytes they hold.

What is written by `write_json` and `write_yaml` carries a digest of itself under the key SEAL, and
is refused by its reader when the two do not match.
"""

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from xkd.errors import Refused

RESTORE = "restore it from the repository"
SEAL = "seal"  # key of the SHA-256 of everything beside it
ABANDONED = 3600.0  # seconds without a change after which half a file is nobody's
AGAIN = "delete it and run the same command again"


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
            sweep(path.parent, path.name, ABANDONED)
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


def sweep(folder: Path, name: str = "*", older: float = 0.0) -> None:
    """Remove halves of files that killed processes left in a folder.

    Args:
        name: of the whole files, a pattern; older: seconds since the last change.
    """
    for path in folder.glob(f".{name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime >= older:
                path.unlink()


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, content: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable, sealed JSON, keys in the order given."""
    write_text(path, json.dumps(_sealed(content), indent=1, ensure_ascii=False) + "\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Readable, sealed YAML, keys in the order given."""
    import yaml

    write_text(path, yaml.safe_dump(_sealed(content), sort_keys=False, allow_unicode=True))


def plain(content: Any) -> Any:
    """The content as JSON and YAML give it back: lists for tuples."""
    return json.loads(json.dumps(content))


def _sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    rest = plain(content)
    return {**rest, SEAL: _seal(rest)}


def _seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of a content, however it was laid out in the file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def reading(path: Path, mend: str = AGAIN) -> Iterator[None]:
    """Turn any failure to read a file, or to make sense of it, into one line.

    Every reader of a file works in here, since no list of exceptions is complete: libraries raise
    KeyError, RecursionError, OverflowError or MemoryError for files that are damaged or hostile.

    Args:
        mend: what to do about a file that is damaged.
    Raises: Refused, with path, reason and remedy.
    """
    try:
        yield
    except Refused:
        raise
    except FileNotFoundError as problem:
        raise Refused(f"{path} is missing; make it first: snakemake {path}") from problem
    except (PermissionError, IsADirectoryError, NotADirectoryError) as problem:
        raise Refused(f"{path} cannot be read: {problem.strerror}; make it readable") from problem
    except Exception as problem:
        raise Refused(f"{path} is damaged ({reason(problem)}); {mend}") from problem


def reason(problem: BaseException) -> str:
    """What is wrong with a file, in a few words, of what a library raised."""
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    if isinstance(problem, MemoryError):
        return "it asks for more memory than there is"
    text = " ".join(str(problem).split())[:200]
    if "weights_only" in text:  # torch's tip to run whatever code a file holds is not passed on
        return "it holds something else than tensors and plain values"
    if isinstance(problem, KeyError):
        return f"{text} is missing in it"
    return text or type(problem).__name__


def read_json(path: Path, sealed: bool = True) -> Any:
    """What `write_json` wrote, without its seal.

    Args:
        sealed: whether it must be; other JSON is not.
    Raises: Refused when the file is absent, not JSON, or not as it was written.
    """
    committed = is_committed(path)
    with reading(path, RESTORE if committed else AGAIN):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return _unsealed(content, committed) if sealed else content


def read_yaml(path: Path, mend: str = AGAIN) -> dict[str, Any]:
    """What `write_yaml` wrote, without its seal.

    Args:
        mend: what to do about a file that is damaged.
    Raises: Refused when the file is absent, not YAML, or not as it was written.
    """
    committed = is_committed(path)
    with reading(path, RESTORE if committed else mend):
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
        return _unsealed(content, committed)


def is_committed(path: Path) -> bool:
    """Whether it belongs to `results/reference/`: the small files of complete runs, which the
    repository keeps, some of them of versions that sealed nothing; weights are left out.
    """
    return ("results", "reference") in pairwise(Path(path).absolute().parts)


def _unsealed(content: Any, older: bool = False) -> dict[str, Any]:
    """older: whether it may lack a seal. Raises ValueError when the content does not match it."""
    if not isinstance(content, dict):
        raise ValueError(f"found a {type(content).__name__}, expected named values")
    if SEAL not in content and older:
        return content
    if SEAL not in content:
        raise ValueError("it carries no digest of itself, so an older version wrote it")
    rest = {key: value for key, value in content.items() if key != SEAL}
    if _seal(rest) != content[SEAL]:
        raise ValueError("its content does not match the digest that it carries")
    return rest


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
