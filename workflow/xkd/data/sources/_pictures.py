"""What the folders of image files share: decoding with a clear refusal."""

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from xkd.data.sources import FIND, contents
from xkd.errors import Refused

NAMED = 5  # damaged files that a refusal names


class Damaged(Refused):
    """An image file cannot be decoded; `reason` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged: {reason}; put the original there, or {FIND}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # from a process that decodes to its parent


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
        Raises: Refused once all are read, if any is damaged: how many, and the first few by name.
        """
        paths = list(paths)
        images, damaged = np.empty((len(paths), 3, size, size), np.uint8), []
        for image, path in zip(images, paths, strict=True):
            try:
                picture = self.open(path)
            except Damaged as problem:
                damaged.append(problem)
                continue
            image[:] = np.asarray(fit(path, picture)).transpose(2, 0, 1)
        if damaged:
            raise many(damaged, len(paths))
        return images

    def open(self, path: Path) -> Image.Image:
        """The decoded image. Raises Refused when it is absent, Damaged when it is truncated."""
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
        named = [path.relative_to(root).as_posix() for path in self.grey]
        return {"grey_images": len(named), "grey_files": named}


def decoded(path: Path, content: bytes) -> tuple[Image.Image, bool]:
    """The picture in RGB, and whether it was grey. Raises Damaged when the bytes are no picture."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB"), image.mode in ("1", "L", "LA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        reason = " ".join(str(problem).split())
        raise Damaged(path, f"{reason} ({len(content)} bytes)") from None


def many(damaged: list[Damaged], among: int) -> Refused:
    """One refusal for all of them."""
    if len(damaged) == 1:
        return damaged[0]
    named = ", ".join(f"{problem.path} ({problem.reason})" for problem in damaged[:NAMED])
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    return Refused(
        f"{len(damaged)} of {among} pictures are damaged: {named}{more}; put the originals there, "
        f"or {FIND}"
    )
