"""Small disks that fill up, and folders that nobody can write to, not even root."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 8 << 20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory. Skips the test where it cannot be mounted."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def full(folder: Path, spare: int) -> Iterator[None]:
    """Leave only so many bytes of a small disk."""
    filler = folder / ".filler"
    with filler.open("wb") as file:
        free = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - spare)
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root may write wherever modes forbid it, so the folder is mounted over itself."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root to mount: {done.stderr.strip()}")
