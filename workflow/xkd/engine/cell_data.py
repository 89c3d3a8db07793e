"""The images of a cell, brought to the device once and shared by all its seeds."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from xkd.data import DATA, MANIFEST
from xkd.data.dataset import load
from xkd.data.folder import Folder
from xkd.data.stream import Images, Resident
from xkd.engine.runtime import Runtime
from xkd.errors import Refused
from xkd.evaluate import Scored
from xkd.files import read_json, reading
from xkd.plan.settings import CellSettings


def data_digest(folder: Path) -> str:
    """SHA-256 of a prepared data set, from its manifest. Raises Refused if there is none."""
    with reading(folder / MANIFEST, "delete it and prepare the data again"):
        return read_json(folder / MANIFEST)["digests"][DATA]


class CellData(NamedTuple):
    """train: images to learn from; rows: their positions among all training images, [N];
    score: images of the accuracy curve and of the final predictions; digest: of the prepared data.
    """

    train: Images
    rows: Tensor
    score: Scored
    digest: str

    @property
    def bytes(self) -> int:
        return self.train.nbytes + self.score.images.nbytes

    @classmethod
    def of(
        cls, settings: CellSettings, folder: Path, runtime: Runtime, workers: int = 0
    ) -> "CellData":
        """From the folder of a prepared data set; a search never touches the test split.

        Args:
            workers: processes that decode pictures which stay in their files.
        Raises: Refused when there is nothing to train on.
        """
        data = load(folder)
        learn, score = ("fit", "holdout") if settings.holdout else ("train", "test")
        split = data.split(learn)
        if not len(split.labels):
            raise Refused(
                f"data set '{data.name}' has no training images, so {settings.cell} cannot be "
                f"trained; see the source {settings.dataset.source} for where they belong"
            )
        place = settings.dataset, runtime.device, runtime.dtype
        channels_last = runtime.layout == torch.channels_last
        if split.files:
            root = Path(settings.dataset.data_root).expanduser()
            files = [root / name for name in split.files]
            train = Folder(files, split.labels, *place, channels_last, workers)
        else:
            train = Resident(split.images, split.labels, *place, channels_last)
        scored = Scored.of(data, score, settings.dataset, runtime.device, runtime.dtype)
        return cls(train, split.index.to(runtime.device), scored, data_digest(folder))
