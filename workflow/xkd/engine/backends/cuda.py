"""The few operations of the graph backend that need a GPU."""

import contextlib
from collections.abc import Callable, Iterator

import torch

AFFECTS_RESULTS = False


class Uncapturable(Exception):
    """A step does something that a CUDA graph cannot hold."""


class Captured:
    """A graph, with the body that it was captured from: what that refers to must stay in memory.

    A graph remembers addresses. Where the only reference to a tensor was the body's own, its memory
    would be given away, and every replay would read what somebody else writes there.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, body: Callable[[], None]) -> None:
        self.graph, self.body = graph, body

    def replay(self) -> None:
        self.graph.replay()


class Cuda:
    """One device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.default = torch.cuda.default_generators[device.index]

    def stream(self) -> torch.cuda.Stream:
        """A new stream, after all that was launched before."""
        torch.cuda.synchronize(self.device)
        return torch.cuda.Stream(self.device)

    def pool(self) -> object:
        """Memory that graphs share; none keeps anything there from one replay to the next."""
        return torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def on(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """Launch on this stream what is launched inside."""
        with torch.cuda.stream(stream):
            yield

    def wait(self, stream: torch.cuda.Stream) -> None:
        stream.synchronize()

    def generator(self) -> torch.Generator:
        """A generator that begins where the default one stands, and goes its own way."""
        return self.default.clone_state()

    def capture(
        self,
        body: Callable[[], None],
        stream: torch.cuda.Stream,
        pool: object,
        generator: torch.Generator,
    ) -> Captured:
        """Record what the body launches; random numbers come from the generator at every replay.

        Raises: Uncapturable, with the reason, if the body cannot be recorded.
        """
        graph, usual = torch.cuda.CUDAGraph(), self.default.graphsafe_get_state()
        torch.cuda.synchronize(self.device)
        self.default.graphsafe_set_state(generator)
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                body()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as problem:
            torch.cuda.synchronize(self.device)
            cause = problem.__context__ or problem  # ending a broken capture raises once more
            raise Uncapturable(
                f"a step cannot be captured as a CUDA graph ({str(cause).splitlines()[0]})"
            ) from problem
        finally:
            self.default.graphsafe_set_state(usual)
        return Captured(graph, body)
