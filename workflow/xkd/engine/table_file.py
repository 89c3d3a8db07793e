"""The file of a teacher's logits, and the header that says whose they are.

A table is `<name>.npy`, float16, [views, images, C], and `<name>.json` beside it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from xkd.errors import Refused
from xkd.files import read_json, reading, verify
from xkd.plan.settings import DatasetSettings, Reinforcement
from xkd.readers import map_npy


@dataclass(frozen=True)
class Header:
    """teacher, data: digests of the weights and of the prepared data set."""

    teacher: str
    data: str
    reinforcement: str
    views: int
    classes: int

    @classmethod
    def of(
        cls,
        teacher: str,
        data: str,
        dataset: DatasetSettings,
        reinforcement: Reinforcement | None,
    ) -> "Header":
        """What a table is expected to say of itself; a γ of zero leaves the images as they are."""
        plain = reinforcement is None or reinforcement.gamma == 0
        name = "none" if plain else str(reinforcement)
        return cls(teacher, data, name, dataset.views, dataset.classes)


def header_path(path: Path) -> Path:
    return path.with_suffix(".json")


def open_table(path: Path, expected: Header) -> Tensor:
    """The logits, float16, [views, images, C], mapped into memory.

    Raises: Refused if the table is absent, damaged, or not the expected one.
    """
    header = read_json(header_path(path))
    for name, value in asdict(expected).items():
        if (found := header.get(name)) != value:
            raise Refused(
                f"{path} does not fit: its {name} is {str(found)[:16]}, expected "
                f"{str(value)[:16]}; delete it and run `xkd tabulate_teacher` again"
            )
    verify(path, str(header.get("sha256")), header_path(path))
    again = "delete it and run `xkd tabulate_teacher` again"
    with reading(path, again):
        logits = torch.from_numpy(map_npy(path, "c"))  # "c", since torch wants to be able to write
        expected_shape = expected.views, header["images"], expected.classes
        if logits.shape != expected_shape or logits.dtype != torch.float16:
            raise ValueError(f"{logits.dtype}, {list(logits.shape)}, expected {expected_shape}")
    return logits
