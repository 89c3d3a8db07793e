"""A pretended GPU for the graph backend: what a graph would hold runs on a CPU at every replay."""

import contextlib
import weakref

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xkd.engine import backends
from xkd.engine.backends import Choice, cuda, graph


class Inputs(TorchDispatchMode):
    """Notes which memory is read inside that was not made there: a graph remembers its address."""

    def __init__(self):
        super().__init__()
        self.made, self.read = {}, {}

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        options = options or {}
        for storage in storages((arguments, options)):
            if storage._cdata not in self.made:
                self.read.setdefault(storage._cdata, StorageWeakRef(storage))
        result = operation(*arguments, **options)
        for storage in storages(result):
            if storage._cdata not in self.read:
                self.made[storage._cdata] = storage  # kept, so that no other gets its address
        return result


def storages(values):
    tensors = (value for value in tree_leaves(values) if isinstance(value, torch.Tensor))
    return [tensor.untyped_storage() for tensor in tensors]


class PretendedCuda:
    """Runs on a CPU what a graph would hold, each time it is replayed; random numbers likewise."""

    captured = 0

    def __init__(self, device):
        pass

    def stream(self):
        return None

    def pool(self):
        return None

    def on(self, stream):
        return contextlib.nullcontext()

    def wait(self, stream):
        pass

    def generator(self):
        private = torch.Generator()
        private.set_state(torch.default_generator.get_state())
        return private

    def capture(self, body, stream, pool, generator):
        type(self).captured += 1

        class Graph:
            """Like a real one, it does not keep its body alive."""

            inputs, kept = None, weakref.ref(body)

            def replay(self):
                body = self.kept()
                assert body is not None, "nobody keeps what the graph reads"
                torch.default_generator.set_state(generator.get_state())
                if self.inputs is None:
                    with Inputs() as inputs:
                        body()
                    self.inputs = list(inputs.read.values())
                else:
                    assert not any(i.expired() for i in self.inputs), "a graph reads freed memory"
                    body()
                generator.set_state(torch.default_generator.get_state())

        return cuda.Captured(Graph(), body)


@contextlib.contextmanager
def pretended(monkeypatch, device=PretendedCuda, unless=()):
    """Within it, cells are trained by graphs on a pretended GPU.

    unless: backends that a cell may ask for and gets.
    """

    def choose(options, *_):
        return Choice(options.backend if options.backend in unless else "graph", "a test")

    with monkeypatch.context() as patch:
        device.captured = 0
        patch.setattr(graph, "Cuda", device)
        patch.setattr(backends, "choose", choose)
        yield
