"""The trained network and the images that an analysis looks at."""

from dataclasses import dataclass

import torch

from xkd.data.dataset import PreparedData, load
from xkd.data.stream import Normalisation
from xkd.evaluate import at_once, load_network
from xkd.networks import Network
from xkd.plan.runs import Layout, Run
from xkd.plan.settings import CellSettings, DatasetSettings

BATCH = 500  # images of 32x32 per pass


@dataclass(frozen=True)
class TrainedNetwork:
    """network: frozen, in evaluation mode, on `device`; dataset, data: what it was trained on."""

    network: Network
    dataset: DatasetSettings
    data: PreparedData
    normalised: Normalisation
    device: torch.device

    @property
    def batch(self) -> int:
        """Images per pass: of large ones only a few, since the way back keeps all activations."""
        return at_once(BATCH, self.dataset.size)

    @classmethod
    def of(
        cls, settings: CellSettings, run: Run, layout: Layout, threads: int, device: str
    ) -> "TrainedNetwork":
        """Raises Refused when the run or the data set is absent or damaged."""
        torch.set_num_threads(threads)
        wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        place = torch.device(wanted)
        network = load_network(layout.run(run), settings.network, settings.dataset).to(place)
        data = load(layout.data(settings.dataset.name))
        normalised = Normalisation(settings.dataset, place)
        return cls(network, settings.dataset, data, normalised, place)
