"""What the folders of image files share: decoding with a clear refusal."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from xkd.data.sources import FIND, contents
from xkd.errors import Refused


class Pictures:
    """Decodes image files to RGB, and remembers how many were grey and a digest of all bytes."""

    def __init__(self) -> None:
        self.grey = 0
        self._digest = hashlib.sha256()

    def open(self, path: Path) -> Image.Image:
        """The decoded image. Raises Refused when the file is absent, truncated or no image."""
        content = contents(path)
        self._digest.update(content)
        try:
            with Image.open(io.BytesIO(content)) as image:
                self.grey += image.mode in ("1", "L", "LA")
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            reason = " ".join(str(problem).split())
            raise Refused(
                f"{path} is damaged: {reason} ({len(content)} bytes); "
                f"put the original there, or {FIND}"
            ) from None

    @property
    def digest(self) -> str:
        """Of the files' bytes, in the order they were opened."""
        return f"sha256:{self._digest.hexdigest()}"
