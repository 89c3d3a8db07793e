"""Training pictures that are too many for memory: decoded from their files while a step computes.

A view is a number here as well: it seeds the random area and the mirroring of one picture, by
torchvision's transforms. So an epoch is a list of (picture, view) as in `xkd.data.stream`, it
depends on the seed and its number alone, and does not depend on how many processes decode.
"""

import contextlib
import errno
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xkd.data.sources import contents, torchvision_datasets
from xkd.data.sources._pictures import Unusable, decoded, many
from xkd.data.stream import Normalisation
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings

Step = tuple[Tensor, Tensor]  # index and view, each [B]


class Folder:
    """The training pictures of a cell; stands where `stream.Resident` does.

    Args:
        files: of the N pictures; labels: [N].
        settings: its `size`, `flip`, `mean` and `std` are used.
        workers: processes that decode; 0 decodes in this one.
    """

    nbytes = 0  # of images in memory

    def __init__(
        self,
        files: Sequence[Path],
        labels: Tensor,
        settings: DatasetSettings,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        workers: int = 0,
    ) -> None:
        self.views = settings.views
        self.labels = labels.to(device, torch.int64)
        self.normalised = Normalisation(settings, device, dtype, channels_last)
        self._pictures, self._workers = Views(files, settings), workers
        self._coming: Iterator[np.ndarray | list[Refused]] = iter(())

    def __len__(self) -> int:
        return len(self.labels)

    def expect(self, steps: Sequence[Step]) -> None:
        """Say what will be asked for, in this order, so that it is decoded ahead of time."""
        places = [list(zip(*(part.tolist() for part in step), strict=True)) for step in steps]
        with _processes():
            self._coming = iter(
                DataLoader(
                    self._pictures,
                    batch_sampler=places,
                    num_workers=self._workers,
                    collate_fn=_collected,
                    multiprocessing_context="fork" if self._workers else None,
                    generator=torch.Generator(),  # or it draws from the one that dropout draws from
                )
            )

    def batch(self, index: Tensor, view: Tensor) -> Step:
        """Normalised views of the next pictures that are expected, and their labels.

        Returns: [B, C, size, size] and int64 [B].
        Raises: Refused when pictures cannot be used: how many of the batch, and which; or when a
            process that decodes has ended.
        """
        with _processes():
            found = next(self._coming)
        if isinstance(found, list):
            unusable = [problem for problem in found if isinstance(problem, Unusable)]
            raise many(unusable, len(index)) if unusable else found[0]
        images = torch.from_numpy(found)
        if self.labels.is_cuda:
            images = images.pin_memory().to(self.labels.device, non_blocking=True)
        return self.normalised(images), self.labels[index]


def _collected(found: Sequence[np.ndarray | Refused]) -> np.ndarray | list[Refused]:
    """All pictures of a step, uint8, [B, C, size, size]; or the refusals, if there are any.

    An array goes from process to process through a pipe. A tensor would take an open file and its
    size in shared memory, of which containers have little (64 MB), and a process that finds none
    left loses its batch without a word.
    """
    return [one for one in found if isinstance(one, Refused)] or np.stack(found)


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Say in one line what became of a process that decodes.

    Torch's handler of SIGCHLD would raise its error wherever this process happens to be; without it
    the end of a process is noticed by whoever waits for pictures, within five seconds.

    Raises: Refused when one ended, or cannot be started.
    """
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    except RuntimeError as problem:
        told = " ".join(str(problem).split())
        if not told.startswith("DataLoader worker"):
            raise
        raise Refused(
            f"a process that decodes pictures has ended ({told}); the machine may be short of "
            "memory: give the job more, or fewer cores (--threads), and run the same command again"
        ) from None
    except OSError as problem:
        if problem.errno not in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
            raise
        raise Refused(
            f"cannot start processes that decode pictures: {problem.strerror}; look at `ulimit -n` "
            "and `ulimit -u`, or give the job fewer cores (--threads)"
        ) from None
    finally:
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before)


class Views(Dataset):
    """(picture, view) -> uint8, [C, size, size]; a refusal comes back as the item itself.

    Raised in a worker it would arrive with that process's traceback around it.
    """

    def __init__(self, files: Sequence[Path], settings: DatasetSettings) -> None:
        torchvision_datasets()
        from torchvision import transforms

        self.files = files
        mirror = [transforms.RandomHorizontalFlip()] if settings.flip else []
        self.transform = transforms.Compose(
            [transforms.RandomResizedCrop(settings.size), *mirror, transforms.PILToTensor()]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: tuple[int, int]) -> np.ndarray | Refused:
        position, view = place
        try:
            path = self.files[position]
            picture, _ = decoded(path, contents(path))
        except Refused as problem:
            return problem
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(view)  # of the CPU alone
            return self.transform(picture).numpy()
