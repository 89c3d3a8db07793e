"""What the folders of image files share: which files are pictures, and decoding them."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from xkd.data.sources import FIND, contents
from xkd.errors import Refused

NAMED = 5  # files that a message names
#: What may be inside, whatever the name says. Pillow knows more, and hands some of it, such as
#: PostScript, to programs of the system: pictures of unknown origin must not choose one.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
NO_CLASSES = frozenset({"__MACOSX"})  # what the Mac's archiver adds
#: Modes of 8 bits a channel that become RGB as torchvision has it: transparency is left out, and
#: pictures are not turned by what a camera noted of its position.
COLOURS = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
GREYS = frozenset({"1", "L", "LA"})
DEEP = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})  # grey, 16 bits


class Unusable(Refused):
    """An image file cannot be used; `reason` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be used: {reason}; replace it, or {FIND}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # from a process that decodes to its parent


class Found(NamedTuple):
    """pictures: files below a folder; others: what else lies there; both in order of their path."""

    pictures: list[Path]
    others: list[Path]


def below(folder: Path) -> Found:
    """Pictures at any depth: by their suffix or, where that is none of a picture, by content.

    Names that begin with a dot are left out: systems and editors hide their notes behind them, some
    of which (`._p00.jpg`) are called like the picture that they are about.
    """
    found = Found([], [])
    waiting, visited = [folder], set()
    while waiting:
        place = waiting.pop()
        if (identity := _identity(place)) in visited:  # a link to a folder around it
            continue
        visited.add(identity)
        for entry in _entries(place):
            path = place / entry.name
            if _is_folder(entry):
                waiting.append(path)
            elif path.suffix.lower() in SUFFIXES or _is_picture(path):
                found.pictures.append(path)
            else:
                found.others.append(path)
    return Found(sorted(found.pictures), sorted(found.others))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in it, in order. Raises Refused when there is no such folder."""
    if not folder.is_dir():
        raise Refused(f"{folder} is missing; expected a folder per class there, or {FIND}")
    names = sorted(entry.name for entry in _entries(folder) if _is_folder(entry))
    for name in names:
        if not name.isprintable():  # so are bytes that are no UTF-8
            raise Refused(f"{folder}: the class folder {name!a} has no printable name; rename it")
    return [name for name in names if name not in NO_CLASSES]


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as problem:
        raise Refused(f"{folder} cannot be read: {problem.strerror}; {FIND}") from None


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    known = folder.stat()
    return known.st_dev, known.st_ino


def _is_picture(path: Path) -> bool:
    if not path.is_file():  # reading a named pipe would wait for ever
        return False
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # readers of foreign bytes fail in every way there is
        return False


class Pictures:
    """Decodes image files to RGB; remembers which were grey, and a digest of all bytes.

    Attributes:
        grey: files that hold one channel, which became three.
    """

    def __init__(self) -> None:
        self.grey: list[Path] = []
        self._digest = hashlib.sha256()

    def decode(
        self, paths: Iterable[Path], size: int, fit: Callable[[Path, Image.Image], Image.Image]
    ) -> np.ndarray:
        """All of these, uint8, [N, 3, size, size].

        Args:
            fit: makes a picture of `size` x `size` of a decoded file.
        Raises: Refused once all are read, if any cannot be used: how many, and the first by name.
        """
        paths = list(paths)
        images, unusable = np.empty((len(paths), 3, size, size), np.uint8), []
        for image, path in zip(images, paths, strict=True):
            try:
                picture = self.open(path)
            except Unusable as problem:
                unusable.append(problem)
                continue
            image[:] = np.asarray(fit(path, picture)).transpose(2, 0, 1)
        if unusable:
            raise many(unusable, len(paths))
        return images

    def open(self, path: Path) -> Image.Image:
        """The decoded image. Raises Refused when it is absent, Unusable when it is truncated."""
        content = contents(path)
        self._digest.update(content)
        picture, grey = decoded(path, content)
        if grey:
            self.grey.append(path)
        return picture

    @property
    def digest(self) -> str:
        """Of the files' bytes, in the order they were opened."""
        return f"sha256:{self._digest.hexdigest()}"

    def notes(self, root: Path) -> dict[str, int | list[str]]:
        """How many were grey, and which, relative to `root`."""
        return {"grey_images": len(self.grey), "grey_files": relative(self.grey, root)}


def relative(paths: Iterable[Path], root: Path) -> list[str]:
    """Paths below `root` as text; bytes that are no UTF-8 are escaped."""
    below = (os.fsencode(path.relative_to(root).as_posix()) for path in paths)
    return [name.decode("utf-8", "backslashreplace") for name in below]


def decoded(path: Path, content: bytes) -> tuple[Image.Image, bool]:
    """The picture in RGB, and whether it was grey.

    Raises: Unusable when the bytes are no picture, or one whose pixels have no place in 8 bits.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            mode = image.mode
            if mode in DEEP or (mode == "I" and image.format == "PNG"):
                return _from_16_bits(image), True
            if mode in COLOURS | GREYS:
                return image.convert("RGB"), mode in GREYS
    except UnidentifiedImageError:
        reason = f"found no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} in its {len(content)} bytes"
    except Exception as problem:  # readers of foreign bytes fail in every way there is
        told = " ".join(str(problem).split()) or type(problem).__name__
        reason = f"damaged, {told} ({len(content)} bytes)"
    else:
        reason = f"pixels of mode {mode}, expected 8 bits a channel or 16 bits of grey"
    raise Unusable(path, reason)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """The upper 8 bits of grey, as Pillow takes them of colour; its own conversion cuts at 255."""
    upper = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
    return Image.fromarray(upper).convert("RGB")


def many(unusable: Sequence[Unusable], among: int) -> Refused:
    """One refusal for all of them."""
    if len(unusable) == 1:
        return unusable[0]
    reasons = [f"{problem.path} ({problem.reason})" for problem in unusable]
    return Refused(
        f"{len(unusable)} of {among} pictures cannot be used: {some(reasons)}; replace them, "
        f"or {FIND}"
    )


def some(names: Sequence[str]) -> str:
    """`a, b, c, d, e and 2 more`."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
