"""Data sets as their authors publish them: one module each, with `read(root, settings, download)`.

To add one: a file here, and an entry in `config.yaml` whose `source` is its name.
"""

import codecs
import hashlib
import tarfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np

from xkd.download import download
from xkd.errors import Refused, setting, unknown
from xkd.plan.settings import DatasetSettings

FIND = f"set data_root: in config.yaml, or {setting('data_root=FOLDER')}"
FIND_OR_FETCH = f"{FIND}, or allow download: true"


class Raw(NamedTuple):
    """A data set in memory, unaltered.

    images:       uint8, [N, C, H, W]; `train_images` has N = 0 in sets made for evaluation only,
                  and where training pictures stay in their files
    labels:       [N], integers from 0; coarse: superclasses, or None
    class_names:  by label; coarse_names: by coarse label, or None
    provenance:   source file, relative to the data root -> `md5:...` or `sha256:...`
    notes:        what a reader of results should know: `subset`, `grey_images`, ...
    train_files:  training pictures that stay in their files, relative to the data root
    test_boxes:   where the object of each test image is, [N, 4]: first and, exclusive, last row and
                  column as top, left, bottom, right; None where that is not known
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    provenance: dict[str, str]
    train_coarse: np.ndarray | None = None
    test_coarse: np.ndarray | None = None
    coarse_names: tuple[str, ...] | None = None
    notes: Mapping[str, Any] = MappingProxyType({})
    train_files: tuple[str, ...] = ()
    test_boxes: np.ndarray | None = None


def known() -> list[str]:
    """Names of the source files."""
    return sorted(found.name for found in iter_modules(__path__) if not found.name.startswith("_"))


def read(root: Path, settings: DatasetSettings, download: bool = False) -> Raw:
    """Read a data set from below `root`, verified; fetch it first where asked.

    Raises: Refused when the source is unknown, or a file is absent, damaged or cannot be fetched.
    """
    if settings.source not in known():
        raise Refused(unknown("data source", settings.source, known()))
    source = import_module(f"xkd.data.sources.{settings.source}")
    return source.read(Path(root).expanduser(), settings, download)


def intact(path: Path, md5: str) -> bool:
    return path.is_file() and _md5(path.read_bytes()) == md5


def verified(path: Path, md5: str) -> bytes:
    """The bytes of a published file, once their MD5 is the published one.

    Raises: Refused when the file is absent, truncated or altered.
    """
    content = contents(path, FIND_OR_FETCH)
    if (found := _md5(content)) != md5:
        raise Refused(
            f"{path} is damaged or not the published file: md5 {found} of its {len(content)} "
            f"bytes, expected {md5}; delete it and put the original there, or {FIND_OR_FETCH}"
        )
    return content


def contents(path: Path, mend: str = FIND) -> bytes:
    """The bytes of a file. Raises Refused, with the way to `mend` it, when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise Refused(
                f"{path} is a link to {path.readlink()}, which is missing; mend or delete the link"
            ) from None
        raise Refused(f"{path} is missing; {mend}") from None
    except OSError as problem:
        raise Refused(f"{path} cannot be read: {problem.strerror}; {mend}") from None


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises Refused when it is absent or no text."""
    return [line for line in text(path).splitlines() if line.strip()]


def text(path: Path) -> str:
    """A text file, in UTF-8 or, with the mark that spreadsheets put before it, in UTF-16.

    Raises: Refused when it is absent, or in another encoding.
    """
    content = contents(path)
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as problem:
        raise Refused(
            f"{path} is damaged, or no text in UTF-8 ({problem}); save it as UTF-8, or {FIND}"
        ) from None


def torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`, imported late: it takes seconds and only preparation needs it."""
    try:
        return import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as problem:  # RuntimeError: built for another torch
        raise Refused(
            f"torchvision cannot be imported ({_one_line(problem)}); install the version "
            "in envs/requirements.txt"
        ) from None


def fetch(url: str, folder: Path, md5: str, unpack: bool = False) -> None:
    """Download a file into a folder, check its MD5, and unpack it there if asked.

    Raises: Refused when it cannot be fetched, stored, or is not the published file.
    """
    archive = download(url, folder / url.rpartition("/")[2], f"md5:{md5}")
    if unpack:
        unpack_archive(archive, folder)


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` or `.zip`; nothing in it may lie outside the folder, or be a device.

    Raises: Refused when it is damaged, or a member would leave the folder.
    """
    try:
        if archive.suffix == ".zip":
            with ZipFile(archive) as opened:
                opened.extractall(folder)  # leaves out `..` and a leading `/` by itself
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter="data")
    except Exception as problem:  # archives fail in every way there is
        raise Refused(
            f"cannot unpack {archive}: {_one_line(problem)}; fetch it again, or look at what it is"
        ) from None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__
