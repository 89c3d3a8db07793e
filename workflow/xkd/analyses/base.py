"""What an analysis receives, and the card that it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xkd.files import digest, plain, write_json
from xkd.plan.declarations import declaration
from xkd.plan.jobs import analysis_card
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings
from xkd.records.analyses import check_card, sources

if TYPE_CHECKING:
    from xkd.analyses._network import TrainedNetwork


@dataclass(frozen=True)
class Request:
    """A run to be analysed.

    options: of the analysis, defaults filled in; threads, device: to be used
    others: options that the analyses in its `READS` must have been made with; none: any will do
    """

    name: str
    run: Run
    settings: CellSettings
    layout: Layout
    options: Mapping[str, Any]
    threads: int = 1
    device: str = "auto"
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the outputs go."""
        return self.layout.analysis(self.name, self.run)

    def output(self, key: str) -> Path:
        """The file that `OUTPUTS` declares under this key."""
        return self.folder / declaration("analyses", self.name)["OUTPUTS"][key]

    def read(self, analysis: str) -> Path:
        """Folder of another analysis of the run, its files as they were written.

        Raises: Refused if it is absent, damaged, or made with other options or of other weights.
        """
        folder = self.layout.analysis(analysis, self.run)
        asked = {str(self.run.cell): self.others[analysis]} if analysis in self.others else None
        check_card(Path(analysis_card(analysis, self.run, self.layout)), asked)
        return folder

    @cached_property
    def trained(self) -> "TrainedNetwork":
        """The network and its data, loaded once. Raises Refused if one is absent or damaged."""
        from xkd.analyses._network import TrainedNetwork

        return TrainedNetwork.of(self.settings, self.run, self.layout, self.threads, self.device)


def carry_out(request: Request) -> None:
    """Run an analysis; its card, with options and digests, is written last.

    Until then an earlier card stays, and does not match what has been written meanwhile.
    """
    card = Path(analysis_card(request.name, request.run, request.layout))
    import_module(f"xkd.analyses.{request.name}").analyse(request)
    declared = declaration("analyses", request.name)
    write_json(
        card,
        {
            "analysis": request.name,
            "run": str(request.run),
            "options": plain(request.options),
            "made_of": sources(declared["READS"], request.run, request.layout),
            "digests": {
                name: digest(request.folder / name) for name in declared["OUTPUTS"].values()
            },
        },
    )
