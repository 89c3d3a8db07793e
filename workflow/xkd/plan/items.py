"""Tables and figures: their entries in the config, the runs that they show, and their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xkd.plan.runs import Cell

Seeds = tuple[int, ...]


@dataclass(frozen=True)
class Files:
    """Files of a paper that an item is drawn from. folder: of the paper; kind: as in `Item`."""

    folder: str
    kind: str
    name: str
    entry: Mapping[str, Any]

    @property
    def script(self) -> Path | None:
        """The script that draws it; None for a table that its entry alone lays out."""
        path = Path(self.folder) / self.kind / f"{self.entry.get('script', self.name)}.py"
        return path if path.is_file() else None

    @property
    def published(self) -> Path | None:
        """The printed numbers, if there are any."""
        if "published" not in self.entry:
            return None
        return Path(self.folder) / "published" / f"{self.entry['published']}.csv"

    @property
    def printed(self) -> list[str]:
        """Names of all files of printed numbers of the paper."""
        return sorted(path.stem for path in (Path(self.folder) / "published").glob("*.csv"))


@dataclass(frozen=True)
class Item:
    """A table or figure: its config entry and the cells it shows, in the order of the config."""

    name: str
    kind: str  # "tables" or "figures"
    entry: Mapping[str, Any]
    paper: Mapping[str, str]  # title, label, folder, ...
    runs: tuple[tuple[Cell, Seeds], ...]
    left_out: tuple[str, ...] = ()  # data sets that the config is to do without

    @property
    def cells(self) -> list[Cell]:
        return [cell for cell, _ in self.runs]

    @property
    def needs(self) -> list[str]:
        """Analyses whose outputs it is drawn from."""
        return list(self.entry.get("needs", ()))

    @property
    def analysed(self) -> list[tuple[Cell, int]]:
        """Runs that these analyses are made of: the first seed of each cell, or every one."""
        every = self.entry.get("analysed", "first") == "every"
        return [
            (cell, seed) for cell, seeds in self.runs for seed in (seeds if every else seeds[:1])
        ]

    @property
    def claims(self) -> list[Mapping[str, Any]]:
        """Orders of methods that the paper states about it."""
        return list(self.entry.get("claims", ()))

    @property
    def optional(self) -> bool:
        """Whether it is drawn only when asked for by name."""
        return self.entry.get("optional", False)

    @cached_property
    def files(self) -> Files:
        return Files(self.paper["folder"], self.kind, self.name, self.entry)
